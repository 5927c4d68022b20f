// All layers in order, beside everything that was assessed with them.

import { scalePoint } from 'd3-scale';
import { line } from 'd3-shape';
import type { App } from './app';
import type { ProfileRow } from './data';
import { axes, few, legend, MARGIN, over, type Linear } from './charts';
import { show } from './columns';
import { el, figure, ink, type Svg, type Table } from './ui';

export const MEASURES: [string, string, string][] = [
  ['H', 'Feature entropy by depth', 'H, nats'],
  ['eps', 'Images with a birth by depth', 'ε'],
  ['share', 'Class share by depth', 'class share']
];
const COLOURS: Record<string, string> = {
  network: 'real',
  'shuffled maps': 'null',
  'random networks': 'third',
  'shuffled weights': 'fourth'
};

export const value = (r: ProfileRow, key: string) => (typeof r[key] === 'number' ? (r[key] as number) : NaN);

export function profile(
  app: App,
  svg: Svg,
  key: string,
  word: string,
  rows: ProfileRow[],
  w: number
): void {
  const root = svg.node()!;
  const h = 250;
  const names = app.index.layers.map(l => l.layer);
  const x = scalePoint<string>(names, [MARGIN.left + 16, w - MARGIN.right - 16]);
  const every = rows.flatMap(r => [value(r, key), value(r, `${key}_lo`), value(r, `${key}_hi`)]);
  const y = over(every, [h - MARGIN.bottom, MARGIN.top + 18], key !== 'share');
  const number = over([0, 1], [x(names[0])!, x(names[names.length - 1])!]);
  number.domain([0, Math.max(names.length - 1, 1)]);
  const shorts = few(lastParts(app.index.layers.map(l => l.short)), w - 60);
  axes(svg, [w, h], number, y, ['layer, from the first to the last', word], 6, shorts);
  const series = [...new Set(rows.map(r => r.series))];
  for (const name of [...series].reverse()) {
    const colour = ink(root, COLOURS[name] ?? 'third');
    const own = rows.filter(r => r.series === name && Number.isFinite(value(r, key)));
    for (const run of new Set(own.map(r => r.run))) {
      const points = names.flatMap(n => own.filter(r => r.layer === n && r.run === run));
      const path = line<ProfileRow>(r => x(r.layer)!, r => y(value(r, key)));
      svg
        .append('path')
        .attr('d', path(points))
        .attr('fill', 'none')
        .attr('stroke', colour)
        .attr('stroke-width', name === 'network' ? 2.5 : 1.2)
        .attr('stroke-dasharray', name === 'network' ? null : '5 3');
    }
    for (const r of own) {
      limits(svg, x(r.layer)!, y, value(r, `${key}_lo`), value(r, `${key}_hi`), colour);
    }
  }
  legend(svg, [w, h], series.map(s => [s, ink(root, COLOURS[s] ?? 'third')]));
  const step = names.length > 1 ? x.step() : w;
  names.forEach((n, i) => {
    const short = app.index.layers[i].short;
    const own = rows.filter(r => r.layer === n);
    const said = own.map(r => `${r.series}: ${show(value(r, key))}`).join('\n');
    const bar = svg.append('rect');
    const [from, to] = [Math.max(x(n)! - step / 2, MARGIN.left), Math.min(x(n)! + step / 2, w)];
    bar.attr('x', from).attr('y', MARGIN.top).attr('width', to - from);
    bar.attr('height', h - MARGIN.bottom - MARGIN.top).attr('fill', 'transparent');
    bar.attr('class', i === app.state.layer ? 'fa-column fa-now' : 'fa-column');
    bar.on('click', () => void app.go({ view: 'layer', layer: i, unit: -1 }));
    bar.append('title').text(`${short}\n${said}`);
  });
}

/** The last part of each name, or as many as tell the names apart. */
function lastParts(names: string[]): string[] {
  const parts = names.map(n => n.split('.'));
  const most = Math.max(...parts.map(p => p.length));
  for (let n = 1; n < most; n++) {
    const ends = parts.map(p => p.slice(-n).join('.'));
    if (new Set(ends).size === names.length) {
      return ends;
    }
  }
  return names;
}

function limits(svg: Svg, x: number, y: Linear, lo: number, hi: number, colour: string): void {
  if (Number.isFinite(lo) && Number.isFinite(hi)) {
    const bar = svg.append('line').attr('x1', x).attr('x2', x).attr('y1', y(lo)).attr('y2', y(hi));
    bar.attr('stroke', colour).attr('stroke-width', 1.5);
  }
}

export async function networkView(app: App): Promise<Node[]> {
  const { index, state } = app;
  const rows = index.profile.filter(r => r.filtration === state.filtration);
  const w = Math.max(Math.min(app.root.clientWidth - 32, 620), 320);
  const table = (): Table => ({
    head: ['layer', 'series', 'run', ...MEASURES.map(m => m[0])],
    rows: rows.map(r => [r.layer, r.series, r.run, ...MEASURES.map(m => value(r, m[0]))])
  });
  const figures = MEASURES.filter(m => rows.some(r => Number.isFinite(value(r, m[0])))).map(
    ([key, title, word]) =>
      figure(
        title,
        `Mean over units and classes of each of ${index.layers.length} layers, with 95% limits.`,
        [w, 250],
        svg => profile(app, svg, key, word, rows, w),
        table
      )
  );
  const own = rows.filter(r => r.series === 'network');
  const listed = index.layers.map((l, i) => {
    const r = own.find(o => o.layer === l.layer);
    const cells = MEASURES.map(m => el('td', {}, show(r ? value(r, m[0]) : NaN)));
    const open = () => void app.go({ view: 'layer', layer: i, unit: -1 });
    return el(
      'tr',
      { 'aria-current': i === state.layer ? 'true' : undefined },
      el('th', { scope: 'row' }, el('button', { type: 'button', click: open }, l.short)),
      el('td', {}, String(l.units)),
      el('td', {}, `${l.height} × ${l.width}`),
      ...cells
    );
  });
  const heads = ['layer', 'units', 'maps', 'H', 'ε', 'class share'];
  const head = el('thead', {}, el('tr', {}, ...heads.map(t => el('th', { scope: 'col' }, t))));
  app.keys.Enter = () => void app.go({ view: 'layer' });
  return [
    el('p', { class: 'fa-about' }, about(app)),
    el('div', { class: 'fa-row' }, ...figures),
    el('div', { class: 'fa-scroll' }, el('table', {}, head, el('tbody', {}, ...listed))),
    ...index.notes.map(n => el('p', { class: 'fa-note' }, n))
  ];
}

function about(app: App): string {
  const { index } = app;
  const n = index.labels.values.length;
  const units = index.layers.reduce((sum, l) => sum + l.units, 0);
  const of = `${units} units of ${index.layers.length} layers of ${index.network}`;
  return `${of}; ${n} images of ${index.classes.length} classes from ${index.images_of}. A click on a layer opens it.`;
}
