// What is looked at, and how an address says it.

import { slots, type Index } from './data';

export type View = 'network' | 'layer' | 'unit' | 'compare';
export const VIEWS: View[] = ['network', 'layer', 'unit', 'compare'];

export interface State {
  view: View;
  layer: number;
  unit: number; // -1: the most telling one
  cls: number; // -1: all classes
  filtration: string;
  slot: number; // of the shown images; -1: the first one with a loop
  x: string;
  y: string;
  sort: string; // a column, a minus in front for decreasing
  rival: string;
}

/** The layer that says most about classes; the last one where that is not known. */
function firstLayer(index: Index): number {
  const shares = index.layers.map(l => {
    const own = index.profile.find(r => r.layer === l.layer && r.series === 'network');
    return typeof own?.share === 'number' ? own.share : -1;
  });
  return Math.max(...shares) < 0 ? shares.length - 1 : shares.indexOf(Math.max(...shares));
}

export function firstState(index: Index): State {
  return {
    view: 'network',
    layer: firstLayer(index),
    unit: -1,
    cls: -1,
    filtration: index.filtrations[0],
    slot: -1,
    x: 'H',
    y: 'contrast',
    sort: 'number',
    rival: index.rivals[0] ?? ''
  };
}

/** An address, without what stands there by default. */
export function toHash(s: State, index: Index): string {
  const first = firstState(index);
  const said = new URLSearchParams();
  said.set('view', s.view);
  said.set('layer', index.layers[s.layer].short);
  if (s.unit >= 0 && s.view !== 'network') {
    said.set('unit', String(s.unit));
  }
  if (s.cls >= 0) {
    said.set('class', String(index.classes[s.cls].label));
  }
  for (const key of ['filtration', 'slot', 'x', 'y', 'sort', 'rival'] as const) {
    if (s[key] !== first[key]) {
      said.set(key, String(s[key]));
    }
  }
  return '#' + said.toString();
}

const whole = (text: string | null, most: number): number | null => {
  const n = Number(text);
  return text !== null && Number.isInteger(n) && n >= 0 && n < most ? n : null;
};

/** The state that an address means; what it says wrongly is left as it is, and said. */
export function fromHash(hash: string, index: Index): [State, string[]] {
  const s = firstState(index);
  const wrong: string[] = [];
  const said = new URLSearchParams(hash.replace(/^#/, ''));
  const take = <T>(key: string, found: T | null | undefined, put: (v: T) => void) => {
    if (said.get(key) === null) {
      return;
    }
    if (found === null || found === undefined) {
      wrong.push(`${key} = ${said.get(key)}`);
    } else {
      put(found);
    }
  };
  const word = (key: string, known: readonly string[]) =>
    known.find(k => k === said.get(key)) ?? null;
  take('view', word('view', VIEWS), v => (s.view = v as View));
  const at = index.layers.findIndex(l => [l.short, l.layer].includes(said.get('layer') ?? ''));
  take('layer', at < 0 ? null : at, v => (s.layer = v));
  take('unit', whole(said.get('unit'), index.layers[s.layer].units), v => (s.unit = v));
  const cls = index.classes.findIndex(c => String(c.label) === said.get('class'));
  take('class', cls < 0 ? null : cls, v => (s.cls = v));
  take('filtration', word('filtration', index.filtrations), v => (s.filtration = v));
  take('slot', whole(said.get('slot'), slots(index)), v => (s.slot = v));
  for (const key of ['x', 'y', 'sort'] as const) {
    take(key, /^-?\w+$/.test(said.get(key) ?? '') ? said.get(key) : null, v => (s[key] = v));
  }
  take('rival', word('rival', index.rivals), v => (s.rival = v));
  return [s, wrong];
}
