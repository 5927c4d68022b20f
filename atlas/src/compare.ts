// The same units elsewhere: shuffled, random, in another result.

import type { App } from './app';
import { axes, dots as marks, legend, MARGIN, over } from './charts';
import { folded, show } from './columns';
import { el, figure, ink, type Svg, type Table } from './ui';
import { MEASURES as DEPTHS, profile, value } from './network';

const MEASURES: [string, string][] = [
  ['H', 'H, nats'],
  ['eps', 'ε'],
  ['contrast', 'contrast']
];

export async function compareView(app: App): Promise<Node[]> {
  const { index, state } = app;
  if (!index.rivals.length) {
    return [
      el(
        'p',
        { class: 'fa-note' },
        'There is nothing to compare with: assess with a null, or make the atlas with another result.'
      )
    ];
  }
  const [part, rivals] = [await app.store.layer(state.layer), await app.store.rivals(state.layer)];
  const box = el('select', { id: 'fa-rival', 'aria-label': 'compare with' });
  index.rivals.forEach(r => box.append(el('option', { value: r, selected: r === state.rival }, r)));
  box.addEventListener('change', () => void app.go({ rival: box.value }));
  const room = app.root.clientWidth - 32;
  const w = Math.max(Math.min(room, room > 1500 ? 580 : 420), 320);
  const rows: HTMLElement[] = [];
  const figures = MEASURES.flatMap(([key, word]) => {
    const own = folded(part.scores[state.filtration][key], state.cls);
    const other = folded(rivals[state.rival]?.[state.filtration]?.[key], state.cls);
    if (!own || !other) {
      return [];
    }
    const [a, b] = [own[state.unit], other[state.unit]];
    const cells = [word, show(a), show(b), show(a - b)].map(t => el('td', {}, t));
    rows.push(el('tr', {}, ...cells));
    const table = (): Table => ({
      head: ['unit', key, `${key} ${state.rival}`],
      rows: Array.from(own, (v, u) => [u, v, other[u]])
    });
    return [
      figure(
        `${key === 'eps' ? 'ε' : key}: network and ${state.rival}`,
        `Each dot is a unit of ${index.layers[state.layer].short}; on the line both are equal.`,
        [w, 320],
        svg => dots(app, svg, own, other, word, w),
        table
      )
    ];
  });
  app.keys.Enter = () => void app.go({ view: 'unit', slot: -1 });
  const heads = [`unit ${state.unit}`, 'network', state.rival, 'difference'];
  const head = el('thead', {}, el('tr', {}, ...heads.map(t => el('th', { scope: 'col' }, t))));
  return [
    el('label', { class: 'fa-pick' }, el('span', {}, 'compare with'), box),
    el('table', {}, head, el('tbody', {}, ...rows)),
    el('div', { class: 'fa-row' }, ...figures),
    el('div', { class: 'fa-row' }, ...byDepth(app, w))
  ];
}

/** The name of a rival among the series of profiles, and its run. */
function seriesOf(rival: string): [string, number] {
  const [, kind, run] = rival.match(/^(random|weights)(\d+)$/) ?? [];
  const names: Record<string, string> = { random: 'random networks', weights: 'shuffled weights' };
  return kind ? [names[kind], Number(run)] : [rival === 'shuffled' ? 'shuffled maps' : rival, 0];
}

/** Both as profiles over all layers. */
function byDepth(app: App, w: number): Node[] {
  const { index, state } = app;
  const [series, run] = seriesOf(state.rival);
  const rows = index.profile.filter(
    r =>
      r.filtration === state.filtration &&
      (r.series === 'network' || (r.series === series && r.run === run))
  );
  return DEPTHS.flatMap(([key, title, word]) => {
    const known = (name: string) =>
      rows.some(r => r.series === name && Number.isFinite(value(r, key)));
    if (!known('network') || !known(series)) {
      return [];
    }
    const table = (): Table => ({
      head: ['layer', 'series', key],
      rows: rows.map(r => [r.layer, r.series, value(r, key)])
    });
    const about = `Mean over units and classes of every layer, of the network and of ${series}.`;
    const draw = (svg: Svg) => profile(app, svg, key, word, rows, w);
    return [figure(title, about, [w, 250], draw, table)];
  });
}

function dots(
  app: App,
  svg: Svg,
  own: Float32Array,
  other: Float32Array,
  word: string,
  w: number
): void {
  const root = svg.node()!;
  const h = 320;
  const every = [...own, ...other];
  const x = over(every, [MARGIN.left, w - MARGIN.right]);
  const y = over(every, [h - MARGIN.bottom, MARGIN.top]);
  axes(svg, [w, h], x, y, [`${word}, ${app.state.rival}`, `${word}, network`]);
  const [low, high] = x.domain();
  const line = svg.append('line').attr('x1', x(low)).attr('x2', x(high));
  line.attr('y1', y(low)).attr('y2', y(high)).attr('stroke', ink(root, 'faint'));
  legend(svg, [w, h], [['unit', ink(root, 'real')], [`unit ${app.state.unit}`, ink(root, 'now')]]);
  const said = svg.append('title');
  const made = marks(svg, own.length, {
    at: u => [x(other[u]), y(own[u])],
    dress: dot => {
      dot.setAttribute('fill', ink(root, 'real'));
      dot.setAttribute('fill-opacity', '0.6');
    },
    click: u => void app.go({ unit: u }, false),
    hover: u => {
      const numbers = `: ${show(own[u ?? 0])}, ${app.state.rival} ${show(other[u ?? 0])}`;
      said.text(u === null ? '' : `unit ${u}${numbers}`);
    }
  });
  const now = made.get(app.state.unit);
  now?.setAttribute('r', '6');
  now?.setAttribute('fill', ink(root, 'now'));
  now?.setAttribute('fill-opacity', '1');
  now?.parentElement?.append(now); // above the others
}
