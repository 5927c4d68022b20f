// One unit: its images with maps and loops, its levels, its births, its classes.

import { bin } from 'd3-array';
import { scaleBand } from 'd3-scale';
import { line, curveStepAfter } from 'd3-shape';
import type { App } from './app';
import { list, row, slots, type BlockPart, type Found, type LayerPart, type MapsPart } from './data';
import { axes, few, legend, MARGIN, over } from './charts';
import { folded, show } from './columns';
import { unitWords } from './layer';
import { el, figure, flat, ink, mapPicture, type Svg, type Table } from './ui';

const ROLES: Record<string, string> = {
  strongest: 'strongest',
  weakest: 'weakest',
  typical: 'usual birth',
  rare: 'rare birth'
};

interface Shown {
  image: number;
  steps: ArrayLike<number>; // of the reduced map
  h: number;
  w: number;
  levels: number; // of the map
  birth: number; // level
  step: number; // of the birth
  curve: ArrayLike<number>;
  cells: number[][];
  sides: number[][];
  pairs: number[][] | null;
}

export function shownMap(maps: MapsPart, f: string, local: number, slot: number): Shown | null {
  const [, slots, h, w] = maps.steps.shape;
  const at = local * slots + slot;
  const image = maps.shown.values[at];
  if (image < 0) {
    return null;
  }
  const found = maps[f] as Found;
  const n = found.curves.shape[2];
  const levels = maps.n_levels.values[at];
  return {
    image,
    steps: maps.steps.values.subarray(at * h * w, (at + 1) * h * w),
    h,
    w,
    levels,
    birth: found.births.values[2 * at],
    step: found.births.values[2 * at + 1],
    curve: found.curves.values.subarray(at * n, at * n + Math.min(n, levels)),
    cells: list(found.cells, at, 2),
    sides: list(found.sides, at, 4),
    pairs: found.has_pairs.values[at] ? list(found.pairs, at, 2) : null
  };
}

interface Bars {
  values: number[];
  low: number[] | null;
  high: number[] | null;
  none: number[] | null; // the shuffled maps
  corrected: number[] | null; // for few images
}

/** The last level of a step: maps of many levels have several to a step. */
export function lastLevel(step: number, levels: number): number {
  return levels <= 255 ? step : Math.min(Math.ceil((step * levels) / 255), levels);
}

export async function unitView(app: App): Promise<Node[]> {
  const { state, index, store } = app;
  const looked = await app.look();
  const start = Math.floor(state.unit / index.block) * index.block;
  const block = await store.block(state.layer, start);
  const at = looked.order.indexOf(state.unit);
  for (const by of [-1, 1]) {
    const near = looked.order[at + by];
    if (near !== undefined) {
      void store.block(state.layer, Math.floor(near / index.block) * index.block);
    }
  }
  return new Unit(app, block, looked.part, state.unit - start).nodes(unitWords(looked.all, state.unit));
}

class Unit {
  private shown: (Shown | null)[] = [];
  private level = 0;
  private large = el('canvas', { class: 'fa-large', role: 'img' });
  private cells = el('canvas', { class: 'fa-large', role: 'img' });
  private words = el('output', { class: 'fa-about' });

  constructor(
    private app: App,
    private block: BlockPart,
    private part: LayerPart,
    private local: number
  ) {
    const { index, state } = app;
    if (block.maps) {
      this.shown = Array.from({ length: slots(index) }, (_, slot) =>
        shownMap(block.maps as MapsPart, state.filtration, local, slot)
      );
    }
    this.level = this.now?.step || 1;
    const level = (by: number) => () => this.setLevel(this.level + by);
    app.keys[','] = level(-1);
    app.keys['.'] = level(1);
    for (let i = 0; i < Math.min(this.shown.length, 9); i++) {
      app.keys[String(i + 1)] = () => this.choose(i);
    }
  }

  private get slot(): number {
    const slot = this.app.state.slot;
    if (this.shown[slot]) {
      return slot;
    }
    const born = this.shown.findIndex(s => s?.birth);
    return Math.max(born < 0 ? this.shown.findIndex(Boolean) : born, 0);
  }

  private get now(): Shown | null {
    return this.shown[this.slot] ?? null;
  }

  private choose(slot: number): void {
    if (this.shown[slot]) {
      void this.app.go({ slot }, false);
    }
  }

  nodes(words: string): Node[] {
    const { app } = this;
    const { state, index } = app;
    const near = (by: number, word: string, id: string) =>
      el('button', { type: 'button', id, click: () => void app.step(by) }, word);
    const head = el(
      'div',
      { class: 'fa-bar fa-controls' },
      el('h2', {}, `${index.layers[state.layer].short}, unit ${state.unit}`),
      near(-1, '← before', 'fa-before'),
      near(1, 'next →', 'fa-next')
    );
    const pictures = this.now ? this.pictures() : [this.none()];
    return [
      head,
      el('p', { class: 'fa-about' }, words),
      ...pictures,
      el('div', { class: 'fa-row' }, ...this.figures()),
      this.alike()
    ];
  }

  private none(): Node {
    const why = this.app.index.has_maps
      ? 'No image stands for this unit: its maps have no birth, and no means were kept.'
      : 'This atlas has no maps: make it with the network and its images.';
    return el('p', { class: 'fa-note' }, why);
  }

  private className(image: number): string {
    const { index } = this.app;
    return index.classes[index.labels.values[image]].name;
  }

  private imageWords(slot: number): string {
    const s = this.shown[slot]!;
    const { index } = this.app;
    const role = ROLES[index.roles[Math.floor(slot / index.each)]];
    const birth = s.birth ? `birth at level ${s.birth} of ${s.levels}` : 'no birth';
    const mean = this.block.means ? `, mean ${show(row(this.block.means, this.local)[s.image])}` : '';
    return `${role ? `${role}: ` : ''}${this.className(s.image)}, ${birth}${mean}`;
  }

  /** Images from one slot to another. */
  private strip(from: number, to: number, about: string): HTMLElement {
    const { app } = this;
    const strip = el('div', { class: 'fa-strip', role: 'group', 'aria-label': about });
    this.shown.forEach((s, slot) => {
      if (!s || slot < from || slot >= to) {
        return;
      }
      const canvas = el('canvas', { class: 'fa-small', 'aria-hidden': 'true' });
      const words = this.imageWords(slot);
      strip.append(
        el(
          'button',
          {
            type: 'button',
            id: `fa-slot-${slot}`,
            'aria-pressed': slot === this.slot ? 'true' : 'false',
            title: `${words} (${app.index.names[s.image]})`,
            click: () => this.choose(slot)
          },
          canvas,
          el('span', {}, words)
        )
      );
      void this.photo(s.image).then(photo => this.overlay(canvas, s, photo, 112));
    });
    return strip;
  }

  private pictures(): Node[] {
    const { app } = this;
    const { index, state } = app;
    const roles = index.roles.length * index.each;
    const strips: Node[] = [this.strip(0, roles, 'images of this unit')];
    if (index.of_class) {
      const of = state.cls < 0 ? [0, index.classes.length] : [state.cls, state.cls + 1];
      const [from, to] = of.map(c => roles + c * index.of_class);
      const about = `strongest image of ${state.cls < 0 ? 'each class' : index.classes[state.cls].name}`;
      strips.push(el('p', { class: 'fa-about' }, about), this.strip(from, to, about));
    }
    const s = this.now!;
    void this.photo(s.image).then(photo => this.overlay(this.large, s, photo, 320));
    this.large.setAttribute('aria-label', `Map over image ${app.index.names[s.image]}. ${this.imageWords(this.slot)}`);
    const slider = el('input', {
      type: 'range',
      id: 'fa-level',
      min: 1,
      max: Math.max(s.curve.length, 1),
      value: this.level,
      'aria-label': 'level',
      input: () => this.setLevel(Number(slider.value))
    });
    this.slider = slider;
    this.setLevel(this.level);
    return [
      ...strips,
      el(
        'div',
        { class: 'fa-row' },
        el('figure', { class: 'fa-figure' }, el('figcaption', {}, el('b', {}, app.index.names[s.image])), this.large),
        el(
          'figure',
          { class: 'fa-figure' },
          el('figcaption', {}, el('b', {}, 'Cells that are in at a level')),
          this.cells,
          el('label', { class: 'fa-pick' }, el('span', {}, 'level'), slider),
          this.words
        )
      )
    ];
  }

  private slider: HTMLInputElement | null = null;

  private photo(image: number): Promise<HTMLImageElement | null> {
    const { photos } = this.app;
    const found = photos.get(image) ?? this.load(image);
    if (photos.size > 400) {
      photos.clear();
    }
    photos.set(image, found);
    return found;
  }

  private async load(image: number): Promise<HTMLImageElement | null> {
    const photo = new Image();
    try {
      photo.src = await this.app.store.picture(image);
      await photo.decode();
      return photo;
    } catch {
      return null;
    }
  }

  private fit(canvas: HTMLCanvasElement, s: Shown, side: number): [CanvasRenderingContext2D, number, number] {
    const scale = devicePixelRatio || 1;
    const layer = this.app.index.layers[this.app.state.layer];
    const long = Math.max(layer.height, layer.width);
    const [w, h] = [(side * layer.width) / long, (side * layer.height) / long];
    canvas.width = w * scale;
    canvas.height = h * scale;
    canvas.style.width = `${w}px`;
    const context = canvas.getContext('2d')!;
    context.scale(scale, scale);
    context.imageSmoothingEnabled = false;
    return [context, w, h];
  }

  private overlay(canvas: HTMLCanvasElement, s: Shown, photo: HTMLImageElement | null, side: number): void {
    const [context, w, h] = this.fit(canvas, s, side);
    if (photo) {
      context.imageSmoothingEnabled = photo.naturalWidth >= 64;
      context.drawImage(photo, 0, 0, w, h);
      context.imageSmoothingEnabled = false;
      context.globalAlpha = 0.55;
    }
    context.drawImage(mapPicture(s.steps, s.h, s.w), 0, 0, w, h);
    context.globalAlpha = 1;
    this.loop(context, s, w, h, side > 200 ? 2.5 : 1.5);
  }

  private loop(context: CanvasRenderingContext2D, s: Shown, w: number, h: number, wide: number): void {
    const layer = this.app.index.layers[this.app.state.layer];
    const [sx, sy] = [w / layer.width, h / layer.height];
    context.beginPath();
    for (const [y0, x0, y1, x1] of s.sides) {
      context.moveTo(x0 * sx, y0 * sy);
      context.lineTo(x1 * sx, y1 * sy);
    }
    if (!s.sides.length) {
      for (const [y, x] of s.cells) {
        context.rect(x * sx, y * sy, Math.max(sx, 3), Math.max(sy, 3));
      }
    }
    for (const [colour, more] of [['#ffffff', 2], [ink(this.app.root, 'now'), 0]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = wide + more;
      context.stroke();
    }
  }

  setLevel(level: number): void {
    const s = this.now;
    if (!s) {
      return;
    }
    this.level = Math.min(Math.max(level, 1), Math.max(s.curve.length, 1));
    if (this.slider) {
      this.slider.value = String(this.level);
    }
    const [context, w, h] = this.fit(this.cells, s, 320);
    const clique = this.app.state.filtration === 'clique' && s.h === s.w;
    const inside = ink(this.app.root, 'inside');
    const outside = ink(this.app.root, 'outside');
    let count = 0;
    for (let y = 0; y < s.h; y++) {
      for (let x = 0; x < s.w; x++) {
        const own = s.steps[y * s.w + x];
        const step = clique ? Math.min(own, s.steps[x * s.w + y]) : own;
        const seen = step <= this.level && !(clique && x === y);
        count += Number(seen);
        context.fillStyle = seen ? inside : outside;
        context.fillRect((x * w) / s.w, (y * h) / s.h, w / s.w + 0.4, h / s.h + 0.4);
      }
    }
    if (s.birth && this.level >= s.step) {
      this.loop(context, s, w, h, 2.5);
    }
    const at = lastLevel(this.level, s.levels);
    const what = clique ? 'cells, each with its mirror image,' : 'cells';
    const born = s.birth ? `the first loop is born at level ${s.birth}` : 'no loop is ever born';
    const few = this.isReduced(s) ? ' The picture is reduced, the loop is not.' : '';
    const loops = s.curve.length ? s.curve[this.level - 1] : 0;
    const said = `Level ${at} of ${s.levels} of the map: ${count} of ${s.h * s.w} ${what} are in; ${loops} loops; ${born}${
      clique && s.birth ? ' of the edges' : ''
    }.${few}`;
    this.words.textContent = said;
    this.cells.setAttribute('aria-label', said);
    this.mark?.(this.level);
  }

  private isReduced(s: Shown): boolean {
    const layer = this.app.index.layers[this.app.state.layer];
    return s.h !== layer.height || s.w !== layer.width;
  }

  private mark: ((level: number) => void) | null = null;

  private figures(): Node[] {
    const w = Math.max(Math.min(this.app.root.clientWidth - 32, 400), 320);
    const out = [this.births(w), ...this.classes(w)];
    const s = this.now;
    if (s && s.curve.length && Math.max(...Array.from(s.curve)) > 0) {
      out.unshift(this.betti(s, w), this.diagram(s, w));
    } else if (s) {
      const why = flat(s.steps) ? 'This map has one value everywhere: ' : '';
      out.unshift(el('p', { class: 'fa-note' }, `${why}no loop is ever born in it.`));
    }
    return out;
  }

  private betti(s: Shown, w: number): Node {
    const h = 240;
    const points = Array.from(s.curve, (v, i): [number, number] => [lastLevel(i + 1, s.levels), v]);
    const draw = (svg: Svg) => {
      const root = svg.node()!;
      const x = over([1, s.levels], [MARGIN.left, w - MARGIN.right]);
      const y = over(points.map(p => p[1]), [h - MARGIN.bottom, MARGIN.top], true);
      axes(svg, [w, h], x, y, ['level of the map', 'loops']);
      const path = line<[number, number]>(p => x(p[0]), p => y(p[1])).curve(curveStepAfter);
      svg.append('path').attr('d', path(points)).attr('fill', 'none').attr('stroke', ink(root, 'real')).attr('stroke-width', 2);
      const rule = svg.append('line').attr('y1', y.range()[0]).attr('y2', y.range()[1]);
      rule.attr('stroke', ink(root, 'now')).attr('stroke-width', 2);
      this.mark = level => rule.attr('x1', x(lastLevel(level, s.levels))).attr('x2', x(lastLevel(level, s.levels)));
      this.mark(this.level);
    };
    const about = 'Betti number of loops at every level of the map shown above.';
    return figure('Betti curve', about, [w, h], draw, () => ({ head: ['level', 'loops'], rows: points }));
  }

  private diagram(s: Shown, w: number): Node {
    if (!s.pairs) {
      const most = this.app.index.most_vertices;
      const why = `Persistence diagrams of cliques are made for maps of at most ${most} × ${most}.`;
      return el('p', { class: 'fa-note' }, why);
    }
    const h = 240;
    const pairs = s.pairs;
    const last = Math.max(...pairs.flat(), 1);
    const draw = (svg: Svg) => {
      const root = svg.node()!;
      const x = over([0, last], [MARGIN.left, w - MARGIN.right], true);
      const y = over([0, last], [h - MARGIN.bottom, MARGIN.top + 12], true);
      axes(svg, [w, h], x, y, ['birth, level', 'death, level']);
      const rule = svg.append('line').attr('x1', x(0)).attr('y1', y(0)).attr('x2', x(last)).attr('y2', y(last));
      rule.attr('stroke', ink(root, 'faint'));
      for (const [birth, death] of pairs) {
        const dot = svg.append('circle').attr('cx', x(birth)).attr('cy', death ? y(death) : MARGIN.top + 5);
        dot.attr('r', 4).attr('fill', ink(root, death ? 'real' : 'null')).attr('fill-opacity', 0.7);
        dot.append('title').text(death ? `born at ${birth}, filled at ${death}` : `born at ${birth}, never filled`);
      }
    };
    const never = pairs.filter(p => !p[1]).length;
    const about = `The ${pairs.length} longest lived loops of this map${never ? `; ${never} are never filled, at the top` : ''}.`;
    return figure('Persistence diagram', about, [w, h], draw, () => ({ head: ['birth', 'death'], rows: pairs }));
  }

  private births(w: number): Node {
    const { index, state } = this.app;
    const h = 240;
    const labels = index.labels.values;
    const of = (kind: 'births' | 'shuffled') => {
      const found = this.block[kind][state.filtration];
      const all = found ? Array.from(row(found, this.local)) : [];
      return all.filter((_, i) => state.cls < 0 || labels[i] === state.cls);
    };
    const kinds: [string, string, number[]][] = [['images', 'real', of('births')]];
    if (this.block.shuffled[state.filtration]) {
      kinds.push(['shuffled maps', 'null', of('shuffled')]);
    }
    const born = kinds.map(k => k[2].filter(v => v > 0));
    const draw = (svg: Svg) => {
      const root = svg.node()!;
      const x = over(born.flat(), [MARGIN.left, w - MARGIN.right]);
      const thresholds = x.ticks(24);
      const bins = born.map(b => bin().domain(x.domain() as [number, number]).thresholds(thresholds)(b));
      const y = over(bins.flat().map(b => b.length), [h - MARGIN.bottom, MARGIN.top + 14], true);
      axes(svg, [w, h], x, y, ['level of the birth', 'images']);
      bins.forEach((found, k) => {
        for (const b of found.filter(b => b.length)) {
          const wide = Math.max((x(b.x1!) - x(b.x0!)) / kinds.length - 1, 1);
          const bar = svg.append('rect').attr('x', x(b.x0!) + k * (wide + 1)).attr('width', wide);
          bar.attr('y', y(b.length)).attr('height', y(0) - y(b.length)).attr('fill', ink(root, kinds[k][1]));
          bar.append('title').text(`${kinds[k][0]}: ${b.length} from level ${b.x0} to ${b.x1}`);
        }
      });
      legend(svg, [w, h], kinds.map(k => [k[0], ink(root, k[1])]));
    };
    const words = kinds.map((k, i) => `${born[i].length} of ${k[2].length} ${k[0]} have a birth`);
    const table = (): Table => ({
      head: ['image', 'class', ...kinds.map(k => k[0])],
      rows: Array.from(labels, (_, i) => i)
        .filter(i => state.cls < 0 || labels[i] === state.cls)
        .map((i, k) => [index.names[i], index.classes[labels[i]].name, ...kinds.map(kind => kind[2][k])])
    });
    return figure('Births', `${words.join('; ')}.`, [w, h], draw, table);
  }

  private classes(w: number): Node[] {
    const scores = this.part.scores[this.app.state.filtration];
    const own = (key: string) => (scores[key] ? Array.from(row(scores[key], this.app.state.unit)) : null);
    const made: Node[] = [];
    const sets: [string, string, string, string, string, string, string][] = [
      ['H by class', 'H', 'H, nats', 'lo', 'hi', 'H_null', 'H_cwj'],
      ['ε by class', 'eps', 'ε', '', '', 'eps_null', ''],
      ['Contrast by class', 'contrast', 'contrast', 'contrast_lo', 'contrast_hi', '', '']
    ];
    for (const [title, key, word, lo, hi, none, corrected] of sets) {
      const values = own(key);
      if (values) {
        const bars = { values, low: own(lo), high: own(hi), none: own(none), corrected: own(corrected) };
        made.push(this.bars(title, word, w, bars));
      }
    }
    return made;
  }

  private bars(title: string, word: string, w: number, bars: Bars): Node {
    const { values, low, high, none, corrected } = bars;
    const { index, state } = this.app;
    const h = 240;
    const draw = (svg: Svg) => {
      const root = svg.node()!;
      const at = values.map((_, i) => i);
      const band = scaleBand<number>(at, [MARGIN.left, w - MARGIN.right]).padding(0.25);
      const x = over([0, values.length - 1], [band(0)! + band.bandwidth() / 2, band(values.length - 1)! + band.bandwidth() / 2]);
      x.domain([0, Math.max(values.length - 1, 1)]);
      const y = over([...values, ...(low ?? []), ...(high ?? []), ...(none ?? []), ...(corrected ?? [])], [h - MARGIN.bottom, MARGIN.top], true);
      axes(svg, [w, h], x, y, ['class', word], 6, few(index.classes.map(c => c.name), w - 60));
      at.forEach(i => {
        const middle = band(i)! + band.bandwidth() / 2;
        const g = svg.append('g').attr('class', 'fa-dot').on('click', () => void this.app.go({ cls: i }));
        if (Number.isFinite(values[i])) {
          const bar = g.append('rect').attr('x', band(i)!).attr('width', band.bandwidth());
          bar.attr('y', Math.min(y(values[i]), y(0))).attr('height', Math.abs(y(values[i]) - y(0)));
          bar.attr('fill', ink(root, i === state.cls ? 'now' : 'real'));
        }
        if (low && high && Number.isFinite(low[i])) {
          const rule = g.append('line').attr('x1', middle).attr('x2', middle).attr('y1', y(low[i])).attr('y2', y(high[i]));
          rule.attr('stroke', ink(root, 'ink')).attr('stroke-width', 1.5);
        }
        if (corrected && Number.isFinite(corrected[i])) {
          const dot = g.append('circle').attr('cx', middle).attr('cy', y(corrected[i])).attr('r', 3.5);
          dot.attr('fill', ink(root, 'ink'));
        }
        if (none && Number.isFinite(none[i])) {
          const rule = g.append('line').attr('x1', band(i)!).attr('x2', band(i)! + band.bandwidth());
          rule.attr('y1', y(none[i])).attr('y2', y(none[i])).attr('stroke', ink(root, 'null')).attr('stroke-width', 3);
        }
        const said = [`${index.classes[i].name}: ${show(values[i])}`];
        if (low && high) {
          said.push(`${corrected ? `corrected ${show(corrected[i])}, ` : ''}95% limits ${show(low[i])} to ${show(high[i])}`);
        }
        if (none) {
          said.push(`shuffled ${show(none[i])}`);
        }
        g.append('title').text(said.join('\n'));
      });
    };
    const limits = corrected ? 'dots are corrected for few images, with 95% limits' : low ? 'lines are 95% limits' : '';
    const more = [limits, none ? 'bars across are shuffled maps' : ''].filter(Boolean);
    const [least, most] = [Math.min(...index.n_images), Math.max(...index.n_images)];
    const each = `${least === most ? least : `${least} to ${most}`} images each`;
    const about = `${word} of this unit for each of ${values.length} classes, ${each}${more.length ? `; ${more.join(', ')}` : ''}.`;
    const table = (): Table => ({
      head: ['class', title, ...(corrected ? ['corrected'] : []), ...(low ? ['lo', 'hi'] : []), ...(none ? ['shuffled'] : [])],
      rows: values.map((v, i) => [
        index.classes[i].name,
        v,
        ...(corrected ? [corrected[i]] : []),
        ...(low ? [low[i], high![i]] : []),
        ...(none ? [none[i]] : [])
      ])
    });
    return figure(title, about, [w, h], draw, table);
  }

  private alike(): Node {
    const { part } = this;
    const { unit } = this.app.state;
    if (!part.alike || !part.alike_rho) {
      return el('p', { class: 'fa-note' }, 'No means of maps were kept: which units are alike is not known.');
    }
    const H = folded(part.scores[this.app.state.filtration].H, this.app.state.cls);
    const rho = row(part.alike_rho, unit);
    const buttons = Array.from(row(part.alike, unit), (u, i) => {
      const open = () => void this.app.go({ unit: u, slot: -1 });
      const words = `unit ${u} (ρ ${show(rho[i], 2)}, H ${show(H?.[u] ?? NaN, 2)})`;
      return u < 0 ? null : el('button', { type: 'button', click: open }, words);
    });
    return el('p', { class: 'fa-alike' }, el('b', {}, 'Most alike, by the ranks of their means: '), ...buttons);
  }
}
