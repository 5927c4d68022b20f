// What is left of the classes while the units of a layer are removed.

import { line } from 'd3-shape';
import type { App } from './app';
import type { Curve } from './data';
import { axes, legend, MARGIN, over } from './charts';
import { el, figure, ink, type Svg, type Table } from './ui';

const COLOURS = ['real', 'now', 'third', 'fourth', 'null', 'ink'];
const HEIGHT = 260;

interface Line {
  name: string;
  points: [number, number][]; // units removed, AUC
}

/** One line for each order: of a class, or the mean of all that were measured. */
function lines(curves: Curve[], cls: number): Line[] {
  const splits = new Set(curves.map(c => c.split));
  const named = (c: Curve) => (splits.size > 1 ? `${c.order}, ${c.split}` : c.order);
  const own = curves.filter(c => cls < 0 || c.cls === cls);
  return [...new Set(own.map(named))].map(name => {
    const sums = new Map<number, [number, number]>();
    for (const curve of own.filter(c => named(c) === name)) {
      curve.step.forEach((step, i) => {
        const auc = curve.auc[i];
        const [sum, n] = sums.get(step) ?? [0, 0];
        if (auc !== null) {
          sums.set(step, [sum + auc, n + 1]);
        }
      });
    }
    const points = [...sums].map(([step, [sum, n]]): [number, number] => [step, sum / n]);
    return { name, points: points.sort((a, b) => a[0] - b[0]) };
  });
}

/** The curves of a layer, where it was ablated. */
export function ablation(app: App, curves: Curve[], w: number): Node[] {
  const { index, state } = app;
  const made = lines(curves, state.cls);
  if (!curves.length) {
    return [];
  }
  const of = state.cls < 0 ? 'mean of the classes' : index.classes[state.cls].name;
  if (!made.length) {
    return [el('p', { class: 'fa-note' }, `No ablation was measured for ${of}.`)];
  }
  const draw = (svg: Svg) => {
    const root = svg.node()!;
    const every = made.flatMap(l => l.points);
    const x = over(every.map(p => p[0]), [MARGIN.left, w - MARGIN.right], true);
    const y = over(every.map(p => p[1]), [HEIGHT - MARGIN.bottom, MARGIN.top + 18]);
    axes(svg, [w, HEIGHT], x, y, ['units removed', 'AUC']);
    const path = line<[number, number]>(p => x(p[0]), p => y(p[1]));
    const colour = (i: number) => ink(root, COLOURS[i % COLOURS.length]);
    made.forEach((l, i) => {
      const drawn = svg.append('path').attr('d', path(l.points)).attr('fill', 'none');
      drawn.attr('stroke', colour(i)).attr('stroke-width', 2).append('title').text(l.name);
      drawn.attr('stroke-dasharray', i < COLOURS.length ? null : '5 3');
    });
    legend(svg, [w, HEIGHT], made.map((l, i) => [l.name, colour(i)]));
  };
  const table = (): Table => ({
    head: ['order', 'units removed', 'AUC'],
    rows: made.flatMap(l => l.points.map(p => [l.name, ...p]))
  });
  const about = `How well ${of} is told from the others while units are removed, in ${made.length} orders.`;
  return [figure('Ablation', about, [w, HEIGHT], draw, table)];
}
