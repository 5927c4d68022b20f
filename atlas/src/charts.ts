// Axes and marks that all figures share.

import { axisBottom, axisLeft, type AxisScale } from 'd3-axis';
import { scaleLinear, type ScaleLinear } from 'd3-scale';
import { extent } from 'd3-array';
import type { Svg } from './ui';
import { ink } from './ui';

export type Linear = ScaleLinear<number, number>;
export const MARGIN = { top: 8, right: 10, bottom: 34, left: 56 };

/** A scale over the finite numbers, with a little room at both ends. */
export function over(values: Iterable<number>, range: [number, number], zero = false): Linear {
  const finite = [...values].filter(Number.isFinite);
  let [low, high] = extent(finite) as [number | undefined, number | undefined];
  low = zero ? Math.min(0, low ?? 0) : low ?? 0;
  high = high ?? 1;
  if (low === high) {
    [low, high] = [low - 0.5, high + 0.5];
  }
  const room = (high - low) * 0.03;
  return scaleLinear([zero && low === 0 ? 0 : low - room, high + room], range);
}

/** Axes with their words, in the ink of the theme. */
export function axes(
  svg: Svg,
  size: [number, number],
  x: AxisScale<never> | Linear,
  y: Linear,
  words: [string, string],
  ticks = 6,
  names?: string[] // at 0, 1, ... of the scale across, where it counts things that have names
): void {
  const root = svg.node()!;
  const colour = ink(root, 'ink');
  const [w, h] = size;
  const bottom = svg.append('g').attr('transform', `translate(0,${h - MARGIN.bottom})`);
  const across = axisBottom(x as Linear).ticks(ticks).tickSizeOuter(0);
  if (names) {
    across.tickValues(names.map((_, i) => i)).tickFormat(i => names[Number(i)]);
  }
  bottom.call(across);
  const left = svg.append('g').attr('transform', `translate(${MARGIN.left},0)`);
  left.call(axisLeft(y).ticks(5).tickSizeOuter(0));
  for (const g of [bottom, left]) {
    g.attr('font-size', 11).attr('color', colour).attr('font-family', 'sans-serif');
    g.selectAll('path,line').attr('stroke', ink(root, 'faint'));
  }
  const text = svg.append('g').attr('fill', colour).attr('font-size', 12);
  text
    .append('text')
    .attr('x', (w + MARGIN.left - MARGIN.right) / 2)
    .attr('y', h - 4)
    .attr('text-anchor', 'middle')
    .text(words[0]);
  text
    .append('text')
    .attr('transform', `translate(12,${(h - MARGIN.bottom + MARGIN.top) / 2}) rotate(-90)`)
    .attr('text-anchor', 'middle')
    .text(words[1]);
}

export function legend(svg: Svg, size: [number, number], names: [string, string][]): void {
  let x = MARGIN.left + 6;
  for (const [name, colour] of names) {
    const g = svg.append('g').attr('transform', `translate(${x},${MARGIN.top + 5})`);
    g.append('rect').attr('width', 10).attr('height', 10).attr('y', -8).attr('fill', colour);
    const t = g.append('text').attr('x', 14).attr('y', 1).attr('font-size', 11);
    t.attr('fill', ink(svg.node()!, 'ink')).text(name);
    x += 26 + name.length * 5.9;
    if (x > size[0]) {
      break;
    }
  }
}

/** Names for an axis: short ones, and as many as fit; the others stay empty. */
export function few(names: string[], width: number): string[] {
  const each = 64;
  const step = Math.max(Math.ceil((names.length * each) / width), 1);
  const short = names.map(n => n.replace(/ \(n\d{8}\)$/, '')); // without ids of synsets
  return short.map((n, i) => (i % step ? '' : n.length > 11 ? `${n.slice(0, 10)}…` : n));
}

export interface Dots {
  at: (u: number) => [number, number];
  dress: (dot: Element, u: number) => void;
  click: (u: number) => void;
  hover: (u: number | null, e: MouseEvent) => void;
}

/** A dot for each unit that has both numbers; one listener for all of them. */
export function dots(svg: Svg, n: number, of: Dots): Map<number, Element> {
  const group = svg.append('g').attr('class', 'fa-dots').node()!;
  const plain = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
  plain.setAttribute('class', 'fa-dot');
  plain.setAttribute('r', '3.5');
  const made = new Map<number, Element>();
  for (let u = 0; u < n; u++) {
    const [x, y] = of.at(u);
    if (Number.isFinite(x) && Number.isFinite(y)) {
      const dot = plain.cloneNode() as Element;
      dot.setAttribute('cx', x.toFixed(1));
      dot.setAttribute('cy', y.toFixed(1));
      dot.setAttribute('data-unit', String(u));
      of.dress(dot, u);
      made.set(u, dot);
    }
  }
  group.append(...made.values());
  const unit = (e: Event) => (e.target as Element).getAttribute('data-unit');
  group.addEventListener('click', e => unit(e) && of.click(Number(unit(e))));
  group.addEventListener('mousemove', e => of.hover(Number(unit(e)), e));
  group.addEventListener('mouseout', e => of.hover(null, e));
  return made;
}
