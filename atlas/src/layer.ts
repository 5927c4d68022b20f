// All units of a layer at once: a scatter, a table and a wall, one selection.

import { brush } from 'd3-brush';
import type { App, Looked } from './app';
import type { Column } from './columns';
import { show } from './columns';
import { axes, dots, MARGIN, over } from './charts';
import { el, figure, flat, ink, saveTable, wallMap, type Svg, type Table } from './ui';
import { ablation } from './ablation';
import type { Matrix } from './data';

const ROW = 26; // pixels of a row of the table
const ROWS = 16; // rows that are seen

/** The units that pass the filter and the selection, in order. */
function listed(app: App, looked: Looked): number[] {
  const { part, order } = looked;
  const { filter } = app;
  const wanted = filter.text.split(/[\s,]+/).filter(Boolean).map(Number);
  return order.filter(
    u =>
      (!filter.status || part.status?.[u] === filter.status) &&
      (!wanted.length || wanted.includes(u)) &&
      (!app.chosen.size || app.chosen.has(u))
  );
}

export function unitWords(columns: Column[], u: number): string {
  const known = columns.slice(1).filter(c => c.text || Number.isFinite(c.values[u]));
  const said = known.map(c => `${c.title} ${c.text?.(u) ?? show(c.values[u])}`);
  return `unit ${u}: ${said.join(', ')}`;
}

export function tableOf(all: Column[], units: number[]): Table {
  return {
    head: all.map(c => c.key),
    rows: units.map(u => all.map(c => c.text?.(u) ?? c.values[u]))
  };
}

export async function layerView(app: App): Promise<Node[]> {
  const looked = await app.look();
  const wall = app.index.has_maps ? (await app.store.wall(app.state.layer)).steps : null;
  const parts = new Layer(app, looked, wall);
  return parts.nodes();
}

class Layer {
  private tip = el('div', { class: 'fa-tip', role: 'status', hidden: true });
  private units: number[];
  private dots = new Map<number, Element>();
  private wall: Wall | null = null;
  private table: UnitTable;
  private saying = 0;

  constructor(
    private app: App,
    private looked: Looked,
    private steps: Matrix | null
  ) {
    this.units = listed(app, looked);
    if (steps) {
      this.wall = new Wall(app, looked, steps, this.units, this);
    }
    this.table = new UnitTable(app, looked, this.units, this);
    app.keys.Enter = () => this.open(app.state.unit);
    app.keys.Escape = () => {
      app.chosen.clear();
      void app.draw();
    };
    const step = (by: number) => () => this.step(by);
    app.keys.ArrowLeft = step(-1);
    app.keys.ArrowRight = step(1);
    app.keys.ArrowUp = () => this.step(-(this.wall?.across ?? 1));
    app.keys.ArrowDown = () => this.step(this.wall?.across ?? 1);
  }

  open(unit: number): void {
    void this.app.go({ view: 'unit', unit, slot: -1 });
  }

  private step(by: number): void {
    const at = this.units.indexOf(this.app.state.unit);
    const next = at < 0 ? 0 : Math.min(Math.max(at + by, 0), this.units.length - 1);
    this.mark(this.units[next]);
  }

  /** Make a unit the one that is looked at, without drawing everything anew. */
  mark(unit: number | undefined): void {
    if (unit === undefined) {
      return;
    }
    this.dots.get(this.app.state.unit)?.classList.remove('fa-now');
    this.app.state.unit = unit;
    this.dots.get(unit)?.classList.add('fa-now');
    this.table.show(unit);
    this.wall?.show(unit);
    this.app.tell(unitWords(this.looked.all, unit));
    clearTimeout(this.saying); // browsers take few changes of an address in a second
    this.saying = window.setTimeout(() => this.app.address('replaceState'), 300);
  }

  hover(unit: number | null, e?: MouseEvent): void {
    this.tip.hidden = unit === null;
    if (unit === null || !e) {
      return;
    }
    const { all } = this.looked;
    const rows = all.map(c =>
      el('div', {}, el('b', {}, c.title), ' ', c.text?.(unit) ?? show(c.values[unit]))
    );
    const map = this.steps ? wallMap(this.steps, unit) : null;
    map?.setAttribute('class', 'fa-tip-map');
    this.tip.replaceChildren(...(map ? [map] : []), ...rows);
    const room = this.app.root.getBoundingClientRect();
    const left = Math.min(e.clientX - room.left + 14, room.width - 190);
    this.tip.style.left = `${Math.max(left, 0)}px`;
    this.tip.style.top = `${e.clientY - room.top + 14}px`;
  }

  nodes(): Node[] {
    const { all } = this.looked;
    const { state, index } = this.app;
    const column = (key: string, other: number) => all.find(c => c.key === key) ?? all[other];
    const x = column(state.x, 1);
    const y = column(state.y, 2);
    const w = Math.max(Math.min(this.app.root.clientWidth - 32, 560), 320);
    const scatter = figure(
      `${y.title} against ${x.title}`,
      `Each dot is one of ${index.layers[state.layer].units} units. Drag to select some, click to open one.`,
      [w, 340],
      svg => this.scatter(svg, x, y, w),
      () => tableOf(all, this.units)
    );
    return [
      this.controls(x, y),
      el('div', { class: 'fa-row' }, scatter, this.table.node),
      ...ablation(this.app, this.looked.part.ablation ?? [], w),
      ...(this.wall ? [this.wall.node] : [el('p', { class: 'fa-note' }, 'This atlas has no maps.')]),
      this.tip
    ];
  }

  private controls(x: Column, y: Column): Node {
    const { app, looked } = this;
    const { filter } = app;
    const pick = (word: string, now: string, act: (key: string) => void) => {
      const box = el('select', { id: `fa-${word.replace(/\W/g, '')}`, 'aria-label': word });
      looked.all.forEach(c => box.append(el('option', { value: c.key, selected: c.key === now }, c.title)));
      box.addEventListener('change', () => act(box.value));
      return el('label', { class: 'fa-pick' }, el('span', {}, word), box);
    };
    const status = el('select', { id: 'fa-status', 'aria-label': 'status' });
    for (const s of ['', ...[...new Set(looked.part.status ?? [])].sort()]) {
      status.append(el('option', { value: s, selected: s === filter.status }, s || 'every status'));
    }
    status.addEventListener('change', () => {
      filter.status = status.value;
      void app.draw();
    });
    const text = el('input', {
      id: 'fa-numbers',
      value: filter.text,
      placeholder: 'unit numbers',
      'aria-label': 'unit numbers, separated by commas'
    });
    text.addEventListener('change', () => {
      filter.text = text.value;
      void app.draw();
    });
    const key = app.state.sort.replace(/^-/, '');
    const clear = () => {
      app.chosen.clear();
      filter.status = filter.text = '';
      void app.draw();
    };
    const counted = `${this.units.length} of ${app.index.layers[app.state.layer].units} units`;
    return el(
      'div',
      { class: 'fa-bar fa-controls' },
      pick('across', x.key, v => void app.go({ x: v }, false)),
      pick('up', y.key, v => void app.go({ y: v }, false)),
      pick('order', key, v => void app.go({ sort: v }, false)),
      status,
      text,
      el('button', { type: 'button', id: 'fa-all', click: clear }, 'All units'),
      el('span', { class: 'fa-count' }, counted)
    );
  }

  private scatter(svg: Svg, cx: Column, cy: Column, w: number): void {
    const root = svg.node()!;
    const h = 340;
    const x = over(Array.from(cx.values), [MARGIN.left, w - MARGIN.right]);
    const y = over(Array.from(cy.values), [h - MARGIN.bottom, MARGIN.top]);
    axes(svg, [w, h], x, y, [cx.title, cy.title]);
    const area = brush<unknown>().extent([
      [MARGIN.left, MARGIN.top],
      [w - MARGIN.right, h - MARGIN.bottom]
    ]);
    area.on('end', e => {
      if (!e.sourceEvent) {
        return;
      }
      this.app.chosen.clear();
      if (e.selection) {
        const [[x0, y0], [x1, y1]] = e.selection;
        for (let u = 0; u < cx.values.length; u++) {
          const [px, py] = [x(cx.values[u]), y(cy.values[u])];
          if (px >= x0 && px <= x1 && py >= y0 && py <= y1) {
            this.app.chosen.add(u);
          }
        }
      }
      void this.app.draw();
    });
    svg.append('g').attr('class', 'fa-brush').call(area);
    const seen = new Set(this.units);
    const [here, away] = [ink(root, 'real'), ink(root, 'faint')];
    this.dots = dots(svg, cx.values.length, {
      at: u => [x(cx.values[u]), y(cy.values[u])],
      dress: (dot, u) => {
        const dead = this.looked.part.status?.[u] === 'dead';
        dot.setAttribute('fill', seen.has(u) && !dead ? here : away);
        dot.setAttribute('fill-opacity', seen.has(u) ? '0.75' : '0.3');
        dot.classList.toggle('fa-now', u === this.app.state.unit);
      },
      click: u => this.open(u),
      hover: (u, e) => this.hover(u, e)
    });
  }
}

/** Rows of the table, as many as are seen. */
class UnitTable {
  node: HTMLElement;
  private body = el('tbody');
  private scroll = el('div', { class: 'fa-scroll fa-units', tabindex: 0, 'aria-label': 'units' });
  private first = -1;

  constructor(
    private app: App,
    private looked: Looked,
    private units: number[],
    private layer: Layer
  ) {
    const sorted = app.state.sort.replace(/^-/, '');
    const down = app.state.sort.startsWith('-');
    const heads = looked.all.map(c => {
      const turn = () => void app.go({ sort: c.key === sorted && !down ? `-${c.key}` : c.key }, false);
      const button = el('button', { type: 'button', title: c.about, click: turn }, c.title);
      const way = c.key === sorted ? (down ? 'descending' : 'ascending') : undefined;
      return el('th', { scope: 'col', 'aria-sort': way }, button);
    });
    const head = el('thead', {}, el('tr', {}, ...heads));
    this.scroll.append(el('table', { 'aria-rowcount': units.length + 1 }, head, this.body));
    this.scroll.addEventListener('scroll', () => this.fill());
    const name = `${app.index.layers[app.state.layer].short}-units`;
    const save = () => saveTable(name, tableOf(looked.all, units));
    this.node = el(
      'figure',
      { class: 'fa-figure fa-listed' },
      el(
        'figcaption',
        {},
        el('b', {}, 'Units'),
        el('span', { class: 'fa-takes' }, el('button', { type: 'button', class: 'fa-take', click: save }, 'CSV'))
      ),
      this.scroll
    );
    this.fill();
    requestAnimationFrame(() => this.show(app.state.unit));
  }

  private fill(force = false): void {
    const first = Math.max(Math.floor(this.scroll.scrollTop / ROW) - 8, 0);
    if (first === this.first && !force) {
      return;
    }
    this.first = first;
    const last = Math.min(first + ROWS + 16, this.units.length);
    const space = (n: number) => {
      const cell = el('td', { colspan: this.looked.all.length });
      cell.style.height = `${n * ROW}px`;
      cell.style.padding = '0';
      return el('tr', { 'aria-hidden': 'true' }, cell);
    };
    const rows = this.units.slice(first, last).map((u, i) => this.row(u, first + i));
    this.body.replaceChildren(space(first), ...rows, space(this.units.length - last));
  }

  private row(u: number, i: number): HTMLElement {
    const cells = this.looked.all.map(c => el('td', {}, c.text?.(u) ?? show(c.values[u])));
    const made = el(
      'tr',
      {
        'aria-rowindex': i + 2,
        'aria-current': u === this.app.state.unit ? 'true' : undefined,
        'data-unit': u,
        click: () => this.layer.open(u)
      },
      ...cells
    );
    made.addEventListener('mousemove', e => this.layer.hover(u, e));
    made.addEventListener('mouseleave', () => this.layer.hover(null));
    return made;
  }

  show(unit: number): void {
    const at = this.units.indexOf(unit) * ROW;
    const top = this.scroll.scrollTop;
    if (at >= 0 && (at < top || at > top + (ROWS - 3) * ROW)) {
      this.scroll.scrollTop = at - 4 * ROW;
    }
    this.fill(true);
  }
}

/** One small map for every unit. */
class Wall {
  node: HTMLElement;
  across: number;
  private side = 40;
  private canvas = el('canvas', { class: 'fa-wall', tabindex: 0, role: 'img', id: 'fa-wall' });

  constructor(
    private app: App,
    private looked: Looked,
    private steps: Matrix,
    private units: number[],
    private layer: Layer
  ) {
    const room = Math.max(app.root.clientWidth - 40, 280);
    this.across = Math.max(Math.floor(room / this.side), 1);
    const down = Math.ceil(units.length / this.across);
    const scale = Math.min(devicePixelRatio || 1, 16000 / Math.max(down * this.side, 1));
    this.canvas.width = this.across * this.side * scale;
    this.canvas.height = Math.max(down, 1) * this.side * scale;
    this.canvas.style.width = `${this.across * this.side}px`;
    this.canvas.setAttribute('aria-label', `Maps of ${units.length} units, each for its strongest image.`);
    const context = this.canvas.getContext('2d')!;
    context.scale(scale, scale);
    context.imageSmoothingEnabled = false;
    this.units.forEach((_, i) => this.cell(i));
    this.canvas.addEventListener('mousemove', e => this.layer.hover(this.at(e), e));
    this.canvas.addEventListener('mouseleave', () => this.layer.hover(null));
    this.canvas.addEventListener('click', e => {
      const unit = this.at(e);
      if (unit !== null) {
        this.layer.open(unit);
      }
    });
    const title = `Wall: the map of each unit for its strongest image, in the order of the table`;
    this.node = el(
      'figure',
      { class: 'fa-figure fa-wide' },
      el('figcaption', {}, el('b', {}, title)),
      el('div', { class: 'fa-scroll fa-walled' }, this.canvas)
    );
  }

  private at(e: MouseEvent): number | null {
    const box = this.canvas.getBoundingClientRect();
    const x = Math.floor((e.clientX - box.left) / this.side);
    const y = Math.floor((e.clientY - box.top) / this.side);
    return x < this.across ? this.units[y * this.across + x] ?? null : null;
  }

  private cell(i: number): void {
    const context = this.canvas.getContext('2d')!;
    const unit = this.units[i];
    const [x, y] = [(i % this.across) * this.side, Math.floor(i / this.across) * this.side];
    const room = this.side - 4;
    const [, h, w] = this.steps.shape;
    const scale = room / Math.max(h, w);
    context.clearRect(x, y, this.side, this.side);
    context.drawImage(wallMap(this.steps, unit), x + 2, y + 2, w * scale, h * scale);
    if (flat(this.steps.values.subarray(unit * h * w, (unit + 1) * h * w))) {
      context.strokeStyle = ink(this.app.root, 'ink') || '#888';
      context.beginPath();
      context.moveTo(x + 6, y + 6);
      context.lineTo(x + this.side - 6, y + this.side - 6);
      context.stroke();
    }
    if (unit === this.app.state.unit) {
      context.strokeStyle = ink(this.app.root, 'now');
      context.lineWidth = 3;
      context.strokeRect(x + 1.5, y + 1.5, this.side - 3, this.side - 3);
      context.lineWidth = 1;
    }
  }

  private last = -1;

  show(unit: number): void {
    const at = this.units.indexOf(unit);
    if (this.last >= 0) {
      this.cell(this.last);
    } else {
      this.units.forEach((_, i) => this.cell(i));
    }
    this.last = at;
    if (at >= 0) {
      this.cell(at);
      const box = this.canvas.parentElement!;
      const y = Math.floor(at / this.across) * this.side;
      if (y < box.scrollTop || y > box.scrollTop + box.clientHeight - this.side) {
        box.scrollTop = y - box.clientHeight / 2;
      }
    }
    this.canvas.setAttribute('aria-label', unitWords(this.looked.all, unit));
  }
}
