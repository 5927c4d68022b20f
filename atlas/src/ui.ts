// Elements, figures that can be taken away, and maps on a canvas.

import { select, type Selection } from 'd3-selection';
import { interpolateCividis } from 'd3-scale-chromatic';
import type { Matrix } from './data';

export type Child = Node | string | null | false;
type Attributes = Record<string, string | number | boolean | ((e: never) => void) | undefined>;

/** An element; texts become text, never markup. */
export function el<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') {
      made.addEventListener(key, value as EventListener);
    } else if (value !== undefined && value !== false) {
      made.setAttribute(key, value === true ? '' : String(value));
    }
  }
  made.append(...(children.filter(c => c !== null && c !== false) as (Node | string)[]));
  return made;
}

const inks = new Map<string, string>();

/** The colours of a theme, as the style sheet says them; asking it for each mark is slow. */
export function ink(root: Element, name: string): string {
  let found = inks.get(name);
  if (!found) {
    found = getComputedStyle(root).getPropertyValue(`--${name}`).trim();
    inks.set(name, found);
  }
  return found;
}

/** Do once nothing else is to be done; what goes wrong is told when it is asked for. */
export function soon(act: () => Promise<unknown>): void {
  const quiet = () => void act().catch(() => null);
  if ('requestIdleCallback' in window) {
    requestIdleCallback(quiet, { timeout: 1000 });
  } else {
    setTimeout(quiet, 300);
  }
}

/** Ask the style sheet again: the theme may be another. */
export function forgetInks(): void {
  inks.clear();
}

export type Svg = Selection<SVGSVGElement, unknown, null, undefined>;
export type Table = { head: string[]; rows: (string | number)[][] };

function save(name: string, href: string): void {
  el('a', { download: name, href }).click();
}

function saveBlob(name: string, blob: Blob): void {
  const href = URL.createObjectURL(blob);
  save(name, href);
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

const FORMULA = /^[=+\-@\t\r]/; // a spreadsheet would calculate it

export function csv(t: Table): string {
  const cell = (v: string | number) => {
    if (typeof v === 'number') {
      return Number.isFinite(v) ? String(v) : '';
    }
    const safe = FORMULA.test(v) ? `'${v}` : v;
    return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  return [t.head, ...t.rows].map(r => r.map(cell).join(',')).join('\n') + '\n';
}

export function saveTable(name: string, t: Table): void {
  saveBlob(`${name}.csv`, new Blob([csv(t)], { type: 'text/csv' }));
}

function svgText(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  copy.setAttribute('font-family', 'sans-serif');
  const paper = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  paper.setAttribute('width', '100%');
  paper.setAttribute('height', '100%');
  paper.setAttribute('fill', ink(svg, 'paper'));
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

function saveSvg(name: string, svg: SVGSVGElement): void {
  saveBlob(`${name}.svg`, new Blob([svgText(svg)], { type: 'image/svg+xml' }));
}

async function savePng(name: string, svg: SVGSVGElement): Promise<void> {
  const picture = new Image();
  picture.src = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(svgText(svg));
  await picture.decode();
  const { width, height } = svg.viewBox.baseVal;
  const canvas = el('canvas', { width: width * 2, height: height * 2 });
  canvas.getContext('2d')!.drawImage(picture, 0, 0, width * 2, height * 2);
  canvas.toBlob(blob => blob && saveBlob(`${name}.png`, blob));
}

/** A drawing with its title, its words for those who do not see it, and buttons to take it away. */
export function figure(
  title: string,
  about: string,
  size: [number, number],
  draw: (svg: Svg) => void,
  table: () => Table
): HTMLElement {
  const name = title.toLowerCase().replace(/[^\p{L}\d]+/gu, '-').replace(/^-|-$/g, '');
  const [w, h] = size;
  const node = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  node.setAttribute('viewBox', `0 0 ${w} ${h}`);
  node.setAttribute('width', String(w));
  node.setAttribute('height', String(h));
  node.setAttribute('role', 'img');
  node.setAttribute('aria-label', `${title}. ${about}`);
  const button = (word: string, act: () => void) =>
    el('button', { type: 'button', class: 'fa-take', click: act, title: `${title} as ${word}` }, word);
  const made = el(
    'figure',
    { class: 'fa-figure' },
    el(
      'figcaption',
      {},
      el('b', {}, title),
      el(
        'span',
        { class: 'fa-takes' },
        button('CSV', () => saveTable(name, table())),
        button('SVG', () => saveSvg(name, node)),
        button('PNG', () => void savePng(name, node))
      )
    ),
    node,
    el('p', { class: 'fa-about' }, about)
  );
  requestAnimationFrame(() => draw(select(node))); // the colours are known once it is in the page
  return made;
}

/** Pixels of a map: light where it is strong; a map without any difference is crossed out. */
export function mapPicture(steps: ArrayLike<number>, h: number, w: number): HTMLCanvasElement {
  const canvas = el('canvas', { width: w, height: h });
  const context = canvas.getContext('2d')!;
  const pixels = context.createImageData(w, h);
  let most = 0;
  for (let i = 0; i < steps.length; i++) {
    most = Math.max(most, steps[i]);
  }
  const colours = shades(most);
  const words = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < steps.length; i++) {
    words[i] = colours[steps[i]];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

const shadesOf = new Map<number, Uint32Array>();

/** Colours of steps as pixels; all machines that have browsers store the red first. */
function shades(most: number): Uint32Array {
  let found = shadesOf.get(most);
  if (!found) {
    found = new Uint32Array(most + 1).fill(0xff808080);
    for (let s = 1; s <= most && most > 1; s++) {
      const colour = interpolateCividis(1 - (s - 1) / (most - 1)).match(/\d+/g)!.map(Number);
      found[s] = (0xff000000 | (colour[2] << 16) | (colour[1] << 8) | colour[0]) >>> 0;
    }
    shadesOf.set(most, found);
  }
  return found;
}

/** Whether a map has one value everywhere. */
export function flat(steps: ArrayLike<number>): boolean {
  for (let i = 1; i < steps.length; i++) {
    if (steps[i] !== steps[0]) {
      return false;
    }
  }
  return true;
}

const walls = new WeakMap<Matrix, HTMLCanvasElement[]>();

export function wallMap(m: Matrix, unit: number): HTMLCanvasElement {
  const [, h, w] = m.shape;
  let made = walls.get(m);
  if (!made) {
    made = [];
    walls.set(m, made);
  }
  made[unit] ??= mapPicture(m.values.subarray(unit * h * w, (unit + 1) * h * w), h, w);
  return made[unit];
}
