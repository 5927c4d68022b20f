// The parts of an atlas: where they come from, and what is in them.

export type Numbers = Float32Array | Uint8Array | Uint16Array | Int16Array | Int32Array;

export interface Matrix {
  shape: number[];
  values: Numbers;
}

export interface Layer {
  layer: string;
  short: string;
  module: string;
  kind: string;
  units: number;
  height: number;
  width: number;
}

export interface ProfileRow {
  series: string;
  run: number;
  layer: string;
  filtration: string;
  [column: string]: string | number | null;
}

export interface Index {
  title: string;
  version: string;
  network: string;
  images_of: string;
  classes: { label: number; name: string }[];
  filtrations: string[];
  n_images: number[];
  labels: Matrix;
  names: string[];
  layers: Layer[];
  profile: ProfileRow[];
  roles: string[];
  block: number;
  notes: string[];
  each: number; // images of each role
  of_class: number; // and the strongest of each class
  has_maps: boolean;
  preflight?: [string, string][]; // what was found before the work: topic, words
  rivals: string[];
  picture: string;
  most_vertices: number;
}

export interface LayerPart {
  scores: Record<string, Record<string, Matrix>>;
  status?: string[];
  unit?: Record<string, Matrix>;
  alike?: Matrix;
  alike_rho?: Matrix;
  mean?: Matrix;
  more?: Record<string, Matrix>; // from tables
  ablation?: Curve[];
}

/** What is left of a class while units are removed. */
export interface Curve {
  order: string;
  split: string;
  cls: number;
  step: number[];
  auc: (number | null)[];
}

interface Rows {
  rows: Matrix;
  ends: Matrix;
}

export interface Found {
  births: Matrix;
  curves: Matrix;
  cells: Rows;
  sides: Rows;
  pairs: Rows;
  has_pairs: Matrix;
}

export interface MapsPart {
  shown: Matrix;
  steps: Matrix;
  n_levels: Matrix;
  [filtration: string]: Matrix | Found;
}

export interface BlockPart {
  births: Record<string, Matrix>;
  shuffled: Record<string, Matrix>;
  means?: Matrix;
  maps?: MapsPart;
}

export type RivalPart = Record<string, Record<string, Record<string, Matrix>>>;

/** How many images stand for a unit. */
export function slots(index: Index): number {
  return index.roles.length * index.each + index.classes.length * (index.of_class ?? 0);
}

/** Where parts come from: a folder, or the page itself. */
export interface Source {
  part(name: string): Promise<unknown>;
  picture(image: number): Promise<string>;
}

const KINDS = {
  u1: Uint8Array,
  u2: Uint16Array,
  i2: Int16Array,
  i4: Int32Array,
  f4: Float32Array
};

function bytesOf(text: string): Uint8Array {
  const plain = atob(text);
  const bytes = new Uint8Array(plain.length);
  for (let i = 0; i < plain.length; i++) {
    bytes[i] = plain.charCodeAt(i);
  }
  return bytes;
}

async function inflate(text: string): Promise<ArrayBuffer> {
  const packed = bytesOf(text);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).arrayBuffer();
}

/** The same with arrays in the place of their texts. */
export async function decoded(x: unknown): Promise<unknown> {
  if (Array.isArray(x)) {
    return x.length && typeof x[0] === 'object' ? Promise.all(x.map(decoded)) : x;
  }
  if (!x || typeof x !== 'object') {
    return x;
  }
  const o = x as Record<string, unknown>;
  if (typeof o.data === 'string' && typeof o.type === 'string' && o.type in KINDS) {
    const values = new KINDS[o.type as keyof typeof KINDS](await inflate(o.data));
    return { shape: o.shape, values };
  }
  const made: Record<string, unknown> = Object.create(null);
  await Promise.all(
    Object.keys(o).map(async key => {
      made[key] = await decoded(o[key]);
    })
  );
  return made;
}

type Put = (name: string, part: unknown) => void;

/** Parts are scripts in a folder, since a page from a disk may not read other files. */
export class FolderSource implements Source {
  private waiting = new Map<string, (part: unknown) => void>();
  private ending = 'jpeg';

  constructor(private folder = '.') {
    (window as unknown as { featentAtlas: Put }).featentAtlas = (name, part) => {
      this.waiting.get(name)?.(part);
      this.waiting.delete(name);
    };
  }

  part(name: string): Promise<unknown> {
    return new Promise((done, failed) => {
      const script = document.createElement('script');
      this.waiting.set(name, part => {
        script.remove();
        if (name === 'index') {
          this.ending = (part as Index).picture;
        }
        done(part);
      });
      script.src = `${this.folder}/data/${name}.js`;
      script.onerror = () => failed(new Error(`the file data/${name}.js cannot be read`));
      document.head.append(script);
    });
  }

  async picture(image: number): Promise<string> {
    return `${this.folder}/images/${image}.${this.ending}`;
  }
}

/** Parts are in the page, as text that is not executed. */
export class PageSource implements Source {
  private text(id: string): string {
    const found = document.getElementById(`part-${id}`);
    if (!found) {
      throw new Error(`this page has no part ${id}`);
    }
    return found.textContent ?? '';
  }

  async part(name: string): Promise<unknown> {
    return JSON.parse(this.text(name));
  }

  async picture(image: number): Promise<string> {
    return JSON.parse(this.text(`image-${image}`)) as string;
  }
}

interface Answer {
  part?: string;
  fault?: string;
}

/** What of a widget's model is needed to ask for parts. */
export interface Kernel {
  send(content: unknown): void;
  on(name: string, act: (...args: never[]) => void): void;
  off(name: string, act: (...args: never[]) => void): void;
}

/** Parts are asked of Python, and answered as bytes. */
export class KernelSource implements Source {
  private waiting = new Map<string, [(text: string) => void, (e: Error) => void]>();
  private heard = (answer: Answer, bytes: DataView[]) => {
    const asked = this.waiting.get(answer.part ?? '');
    this.waiting.delete(answer.part ?? '');
    if (answer.fault !== undefined) {
      asked?.[1](new Error(answer.fault));
    } else {
      asked?.[0](new TextDecoder().decode(bytes[0]));
    }
  };

  constructor(private kernel: Kernel) {
    kernel.on('msg:custom', this.heard);
  }

  end(): void {
    this.kernel.off('msg:custom', this.heard);
  }

  async part(name: string): Promise<unknown> {
    const text = await new Promise<string>((done, failed) => {
      this.waiting.set(name, [done, failed]);
      this.kernel.send({ part: name });
    });
    return JSON.parse(text);
  }

  async picture(image: number): Promise<string> {
    return (await this.part(`image-${image}`)) as string;
  }
}

/** Parts as they are asked for, the last ones kept. */
export class Store {
  private kept = new Map<string, Promise<unknown>>();

  constructor(private source: Source) {}

  private async get<T>(name: string): Promise<T> {
    let found = this.kept.get(name);
    if (!found) {
      found = this.source.part(name).then(decoded);
      found.catch(() => this.kept.delete(name));
      this.kept.set(name, found);
      if (this.kept.size > 60) {
        const old = [...this.kept.keys()].find(k => k !== 'index');
        this.kept.delete(old as string);
      }
    }
    return found as Promise<T>;
  }

  index(): Promise<Index> {
    return this.get('index');
  }

  layer(i: number): Promise<LayerPart> {
    return this.get(`layer-${i}`);
  }

  wall(i: number): Promise<{ steps: Matrix }> {
    return this.get(`wall-${i}`);
  }

  block(i: number, start: number): Promise<BlockPart> {
    return this.get(`block-${i}-${start}`);
  }

  rivals(i: number): Promise<RivalPart> {
    return this.get(`rivals-${i}`);
  }

  picture(image: number): Promise<string> {
    return this.source.picture(image);
  }
}

/** One row of a matrix. */
export function row(m: Matrix, i: number): Numbers {
  const n = m.shape.slice(1).reduce((a, b) => a * b, 1);
  return m.values.subarray(i * n, (i + 1) * n);
}

/** The rows of one list among many. */
export function list(r: Rows, i: number, width: number): number[][] {
  const from = i ? r.ends.values[i - 1] : 0;
  const out: number[][] = [];
  for (let k = from; k < r.ends.values[i]; k++) {
    out.push([...r.rows.values.subarray(k * width, (k + 1) * width)]);
  }
  return out;
}
