// The numbers of all units of a layer, as columns of a table.

import type { Index, LayerPart, Matrix } from './data';
import type { State } from './state';

export interface Column {
  key: string;
  title: string;
  about: string;
  values: ArrayLike<number>;
  text?: (i: number) => string;
  log?: boolean;
}

export function show(v: number, digits = 3): string {
  if (!Number.isFinite(v)) {
    return '–';
  }
  if (v !== 0 && Math.abs(v) < 10 ** -digits) {
    return v.toExponential(1);
  }
  return String(Number(v.toFixed(digits)));
}

type Fold = (row: ArrayLike<number>) => number;

const mean: Fold = row => {
  let n = 0;
  let sum = 0;
  for (let i = 0; i < row.length; i++) {
    if (Number.isFinite(row[i])) {
      n++;
      sum += row[i];
    }
  }
  return n ? sum / n : NaN;
};
const largest: Fold = row => {
  let best = NaN;
  for (let i = 0; i < row.length; i++) {
    if (Number.isFinite(row[i]) && !(Math.abs(row[i]) <= Math.abs(best))) {
      best = row[i];
    }
  }
  return best;
};

/** One number for each unit: that of a class, or of all classes together. */
export function folded(m: Matrix | undefined, cls: number, fold: Fold = mean): Float32Array | null {
  if (!m) {
    return null;
  }
  const [units, classes] = m.shape;
  const out = new Float32Array(units);
  for (let u = 0; u < units; u++) {
    const own = m.values.subarray(u * classes, (u + 1) * classes);
    out[u] = cls < 0 ? fold(own) : own[cls];
  }
  return out;
}

const SCORES: [string, string, string, Fold | null][] = [
  ['H', 'H', 'feature entropy, nats', mean],
  ['H_null', 'H shuffled', 'feature entropy of shuffled maps, nats', mean],
  ['excess', 'excess', 'H of shuffled maps less H, nats: above 0 where births are more stable', mean],
  ['q', 'q (excess)', 'false discovery rate of the excess', null],
  ['eps', 'ε', 'share of images with a birth', mean],
  ['eps_null', 'ε shuffled', 'share of shuffled maps with a birth', mean],
  ['contrast', 'contrast', 'class against the rest, −1 to 1', largest],
  ['contrast_q', 'q (contrast)', 'false discovery rate of the contrast', null],
  ['invalid', 'invalid', 'share of classes in which ε is too small', mean]
];
const OWN: [string, string, string][] = [
  ['share', 'class share', 'share of the rank variance that classes explain'],
  ['share_q', 'q (share)', 'false discovery rate of the share'],
  ['rho', 'ρ followed', 'rank correlation with the unit that this one repeats']
];

export function columns(index: Index, part: LayerPart, s: State): Column[] {
  const scores = part.scores[s.filtration];
  const n = index.layers[s.layer].units;
  const out: Column[] = [
    { key: 'number', title: 'unit', about: 'number', values: Array.from({ length: n }, (_, i) => i) }
  ];
  if (part.status) {
    const words = [...new Set(part.status)].sort();
    out.push({
      key: 'status',
      title: 'status',
      about: 'answers, weak, carries no class, redundant or dead',
      values: part.status.map(w => words.indexOf(w)),
      text: i => part.status![i]
    });
  }
  for (const [key, title, about, fold] of SCORES) {
    if (s.cls < 0 && !fold) {
      continue;
    }
    const values = folded(scores[key], s.cls, fold ?? mean);
    if (values) {
      out.push({ key, title, about, values });
    }
  }
  for (const [key, title, about] of OWN) {
    const found = part.unit?.[key];
    if (found) {
      out.push({ key, title, about, values: found.values });
    }
  }
  if (part.unit?.label) {
    const label = part.unit.label.values;
    out.push({
      key: 'label',
      title: 'answers to',
      about: 'class of the largest contrast',
      values: label,
      text: i => (label[i] >= 0 ? index.classes[label[i]].name : '–')
    });
  }
  for (const [key, m] of Object.entries(part.more ?? {})) {
    const values = m.shape.length > 1 ? folded(m, s.cls)! : m.values;
    out.push({ key: `more_${out.length}`, title: key, about: `${key}, from a table`, values });
  }
  if (part.mean) {
    out.push({ key: 'mean', title: 'mean', about: 'mean of its maps', values: part.mean.values });
  }
  return out;
}

/** The unit that says most about classes; where nothing does, the one of the largest excess. */
export function mostTelling(part: LayerPart, filtration: string): number {
  const scores = part.scores[filtration];
  const tried = [
    part.unit?.share?.values,
    folded(scores.contrast, -1, largest)?.map(Math.abs),
    folded(scores.excess, -1),
    folded(scores.eps, -1)
  ];
  for (const values of tried) {
    let best = -1;
    values?.forEach((v: number, u: number) => {
      const usable = Number.isFinite(v) && part.status?.[u] !== 'dead';
      best = usable && (best < 0 || v > values[best]) ? u : best;
    });
    if (best >= 0) {
      return best;
    }
  }
  return 0;
}

const ANYWAY = ['number', 'status', 'invalid', 'eps', 'eps_null'];

/** Units in the order of a column; what has no number, or no valid one, comes last. */
export function order(all: Column[], sort: string): number[] {
  const key = sort.replace(/^-/, '');
  const sign = sort.startsWith('-') ? -1 : 1;
  const v = (all.find(c => c.key === key) ?? all[0]).values;
  const at = Array.from({ length: v.length }, (_, i) => i);
  const invalid = ANYWAY.includes(key) ? null : all.find(c => c.key === 'invalid')?.values;
  const last = (u: number) => (Number.isFinite(v[u]) ? Number((invalid?.[u] ?? 0) >= 1) : 2);
  return at.sort((a, b) => last(a) - last(b) || sign * (v[a] - v[b]) || a - b);
}
