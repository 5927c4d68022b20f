// The frame around the views: what is looked at, the way back, keys, themes.

import type { Index, LayerPart } from './data';
import { Store, type Source } from './data';
import { columns, mostTelling, order, type Column } from './columns';
import { fromHash, toHash, VIEWS, type State, type View } from './state';
import { el, forgetInks, soon } from './ui';
import { networkView } from './network';
import { layerView } from './layer';
import { unitView } from './unit';
import { compareView } from './compare';

export interface Options {
  address: boolean; // whether the state stands in the address of the page
  changed?: (hash: string) => void; // told what is looked at
}

export interface Looked {
  part: LayerPart;
  all: Column[];
  order: number[];
}

const TITLES: Record<View, string> = {
  network: 'Network',
  layer: 'Layer',
  unit: 'Unit',
  compare: 'Compare'
};

const HELP = `n l u c: views · ← →: units · ↑ ↓: rows on the wall · [ ]: classes · { }: layers
, .: level · 1–9: images · Enter: open the unit · Backspace: back · ?: this line`;

export class App {
  state!: State;
  index!: Index;
  store: Store;
  chosen = new Set<number>(); // units of the layer in view
  filter = { status: '', text: '' }; // of these units
  photos = new Map<number, Promise<HTMLImageElement | null>>(); // seen a moment ago
  body = el('main', { class: 'fa-body', tabindex: -1 });
  private bar = el('header', { class: 'fa-bar' });
  private said = el('p', { class: 'fa-said', 'aria-live': 'polite' });
  private help = el('p', { class: 'fa-help', hidden: true }, HELP);
  private went = el('details', { class: 'fa-went', hidden: true }); // into the network
  private past: string[] = [];
  private drawn = 0;
  private seen: View | null = null;
  private looked: { key: string; found: Looked } | null = null;
  private endings: (() => void)[] = [];
  keys: Record<string, (e: KeyboardEvent) => void> = {};

  constructor(
    public root: HTMLElement,
    source: Source,
    private options: Options
  ) {
    this.store = new Store(source);
    root.classList.add('featent-atlas');
    root.setAttribute('data-lm-suppress-shortcuts', 'true');
    root.tabIndex = -1;
    root.replaceChildren(this.bar, this.help, this.went, this.said, this.body);
  }

  async start(hash = ''): Promise<void> {
    try {
      this.index = await this.store.index();
    } catch (e) {
      this.tell(String((e as Error).message));
      return;
    }
    this.sayWhatWent();
    this.listen();
    await this.lookAt(hash || (this.options.address ? location.hash : ''));
    this.options.changed?.(toHash(this.state, this.index));
  }

  /** What went into the network, above every view: doubts are seen without a click. */
  private sayWhatWent(): void {
    const lines = this.index.preflight ?? [];
    const doubt = (words: string) => /^(doubtful|wrong): /.test(words);
    const seen = lines.filter(([topic, words]) => doubt(words) || ['images', 'weights', 'accuracy'].includes(topic));
    const rows = lines.map(([topic, words]) => el('div', {}, el('b', {}, topic), `: ${words}`));
    const head = el('summary', {}, seen.map(([topic, words]) => `${topic}: ${words}`).join('; '));
    this.went.replaceChildren(head, ...rows);
    this.went.hidden = !lines.length;
    this.went.classList.toggle('fa-doubt', lines.some(([, words]) => doubt(words)));
  }

  private listen(): void {
    const on = (target: EventTarget, kind: string, act: (e: never) => void) => {
      target.addEventListener(kind, act as EventListener);
      this.endings.push(() => target.removeEventListener(kind, act as EventListener));
    };
    on(this.root, 'keydown', (e: KeyboardEvent) => this.key(e));
    const again = () => {
      forgetInks();
      void this.draw();
    };
    on(matchMedia('(prefers-color-scheme: dark)'), 'change', again);
    const theme = new MutationObserver(again);
    theme.observe(document.body, { attributeFilter: ['data-jp-theme-light', 'class'] });
    this.endings.push(() => theme.disconnect());
    let width = this.root.clientWidth;
    const size = new ResizeObserver(() => {
      if (Math.abs(this.root.clientWidth - width) > 24) {
        width = this.root.clientWidth;
        again();
      }
    });
    size.observe(this.root);
    this.endings.push(() => size.disconnect());
    if (this.options.address) {
      on(window, 'popstate', () => void this.lookAt(location.hash));
    }
  }

  end(): void {
    this.endings.forEach(end => end());
  }

  tell(text: string): void {
    this.said.textContent = text;
  }

  private keep(state: State): void {
    if (this.state && state.layer !== this.state.layer) {
      this.chosen.clear();
    }
    this.state = state;
  }

  /** Look at something else; `step` is worth a way back. */
  go(change: Partial<State>, step = true): Promise<void> {
    const before = toHash(this.state, this.index);
    const state = { ...this.state, ...change };
    state.unit = Math.min(state.unit, this.index.layers[state.layer].units - 1);
    this.keep(state);
    const hash = toHash(state, this.index);
    if (step && hash !== before) {
      this.past.push(before);
    }
    if (hash !== before) {
      this.address(step ? 'pushState' : 'replaceState');
    }
    return this.draw();
  }

  /** Say what is looked at, to the page and to who asked. */
  address(how: 'pushState' | 'replaceState'): void {
    const hash = toHash(this.state, this.index);
    if (this.options.address) {
      try {
        history[how](null, '', hash);
      } catch {
        this.options.address = false; // pages within pages may have no address
      }
    }
    this.options.changed?.(hash);
  }

  /** Look at what an address says, from outside. */
  private async lookAt(hash: string): Promise<void> {
    const [state, wrong] = fromHash(hash, this.index);
    this.keep(state);
    await this.draw();
    if (wrong.length) {
      this.tell(`The address says what this atlas has not: ${wrong.join(', ')}`);
    }
  }

  /** Look at what somebody else wants to see, unless it is what is seen. */
  async seek(hash: string): Promise<void> {
    if (this.state && hash !== toHash(this.state, this.index)) {
      this.past.push(toHash(this.state, this.index));
      await this.lookAt(hash);
    }
  }

  back(): void {
    if (this.options.address) {
      history.back();
    } else if (this.past.length) {
      this.keep(fromHash(this.past.pop()!, this.index)[0]);
      this.options.changed?.(toHash(this.state, this.index));
      void this.draw();
    }
  }

  /** The numbers of the layer in view, in the order of the table. */
  async look(): Promise<Looked> {
    const s = this.state;
    const key = [s.layer, s.filtration, s.cls, s.sort].join();
    if (this.looked?.key !== key) {
      const part = await this.store.layer(s.layer);
      const all = columns(this.index, part, s);
      this.looked = { key, found: { part, all, order: order(all, s.sort) } };
    }
    return this.looked.found;
  }

  async draw(): Promise<void> {
    const turn = ++this.drawn;
    this.drawBar();
    if (this.state.unit < 0 && this.state.view !== 'network') {
      await this.choose();
      if (turn !== this.drawn) {
        return;
      }
    }
    const views = { network: networkView, layer: layerView, unit: unitView, compare: compareView };
    this.keys = {};
    try {
      const made = await views[this.state.view](this);
      if (turn !== this.drawn) {
        return;
      }
      const inside = this.body.contains(document.activeElement);
      const id = inside ? document.activeElement?.id : '';
      this.body.replaceChildren(...made);
      if (inside) {
        const again = id ? this.body.querySelector<HTMLElement>(`#${CSS.escape(id)}`) : null;
        (again ?? this.body).focus({ preventScroll: true });
      }
      this.tell(this.title());
      this.root.dataset.drawn = String(turn);
      if (this.seen && this.seen !== this.state.view) {
        this.bar.scrollIntoView({ block: 'nearest' }); // another view begins at its beginning
      }
      this.seen = this.state.view;
      if (this.state.view !== 'network') {
        soon(() => this.near());
      }
    } catch (e) {
      this.body.replaceChildren();
      this.tell(`This cannot be shown: ${(e as Error).message}`);
    }
  }

  /** What the layers before and after are shown with. */
  private async near(): Promise<void> {
    const { state, index, store } = this;
    const n = index.layers.length;
    for (const i of [(state.layer + 1) % n, (state.layer + n - 1) % n]) {
      const part = await store.layer(i);
      if (state.view === 'layer' && index.has_maps) {
        await store.wall(i);
      } else if (state.view === 'compare' && index.rivals.length) {
        await store.rivals(i);
      } else if (state.view === 'unit') {
        const unit = mostTelling(part, state.filtration);
        await store.block(i, Math.floor(unit / index.block) * index.block);
      }
    }
  }

  /** Look at the most telling unit where none is named. */
  private async choose(): Promise<void> {
    const { layer, filtration } = this.state;
    try {
      const unit = mostTelling(await this.store.layer(layer), filtration);
      if (this.state.unit < 0 && this.state.layer === layer) {
        this.state.unit = unit;
        this.address('replaceState');
      }
    } catch {
      this.state.unit = 0; // the view says what is wrong
    }
  }

  private title(): string {
    const { view, layer, unit, cls } = this.state;
    const of = this.index.layers[layer].short;
    const n = cls < 0 ? this.index.labels.values.length : this.index.n_images[cls];
    const whose = cls < 0 ? 'all classes' : `class ${this.index.classes[cls].name}`;
    const what = `${whose}; ${n} images`;
    if (view === 'network') {
      return `${this.index.layers.length} layers, ${what}`;
    }
    return view === 'layer' ? `${of}, ${what}` : `${of}, unit ${unit}, ${what}`;
  }

  private pick(name: string, options: string[], now: number, act: (i: number) => void): Node {
    const box = el('select', { 'aria-label': name, id: `fa-${name}` });
    options.forEach((o, i) => box.append(el('option', { value: i, selected: i === now }, o)));
    box.addEventListener('change', () => act(Number(box.value)));
    return el('label', { class: 'fa-pick' }, el('span', {}, name), box);
  }

  private drawBar(): void {
    const { index, state } = this;
    const focus = this.bar.contains(document.activeElement) ? document.activeElement?.id : '';
    const tab = (v: View) =>
      el(
        'button',
        {
          type: 'button',
          id: `fa-tab-${v}`,
          'aria-current': v === state.view ? 'page' : undefined,
          click: () => void this.go({ view: v })
        },
        TITLES[v]
      );
    const classes = ['all classes', ...index.classes.map(c => c.name)];
    const picks = [
      this.pick('layer', index.layers.map(l => l.short), state.layer, layer =>
        this.go({ layer, unit: -1, slot: -1 })
      ),
      this.pick('class', classes, state.cls + 1, i => this.go({ cls: i - 1 }))
    ];
    if (index.filtrations.length > 1) {
      const now = index.filtrations.indexOf(state.filtration);
      picks.push(
        this.pick('filtration', index.filtrations, now, i =>
          this.go({ filtration: index.filtrations[i] })
        )
      );
    }
    this.bar.replaceChildren(
      el('h1', { title: index.title }, index.title),
      el('nav', { 'aria-label': 'views' }, ...VIEWS.map(tab)),
      ...picks,
      el(
        'span',
        { class: 'fa-ends' },
        el('button', { type: 'button', id: 'fa-back', click: () => this.back() }, 'Back'),
        el('button', { type: 'button', id: 'fa-help', click: () => this.toggleHelp() }, 'Keys')
      )
    );
    if (focus) {
      this.bar.querySelector<HTMLElement>(`#${CSS.escape(focus)}`)?.focus();
    }
  }

  private toggleHelp(): void {
    this.help.hidden = !this.help.hidden;
  }

  /** The unit before or after this one, in the order of the table. */
  async step(by: number): Promise<void> {
    const { order } = await this.look();
    const at = order.indexOf(this.state.unit);
    const next = order[Math.min(Math.max(at + by, 0), order.length - 1)];
    await this.go({ unit: next }, false);
  }

  private key(e: KeyboardEvent): void {
    e.stopPropagation(); // the keys of the page around mean something else
    if (e.ctrlKey || e.metaKey || e.altKey) {
      return;
    }
    const at = e.target as HTMLElement;
    if (at.matches('input:not([type=range]),textarea') || (at.matches('select') && e.key !== '?')) {
      return;
    }
    if (at.matches('input[type=range]') && e.key.startsWith('Arrow')) {
      return;
    }
    const own = this.keys[e.key] ?? this.general(e.key);
    if (own) {
      e.preventDefault();
      own(e);
    }
  }

  private general(key: string): ((e: KeyboardEvent) => void) | undefined {
    const { state, index } = this;
    const view = VIEWS.find(v => v[0] === key);
    if (view) {
      return () => void this.go({ view });
    }
    const turn = (by: number, now: number, n: number) => (((now + by) % n) + n) % n;
    const layers = (by: number) => () =>
      void this.go({ layer: turn(by, state.layer, index.layers.length), unit: -1, slot: -1 });
    const classes = (by: number) => () =>
      void this.go({ cls: turn(by, state.cls + 1, index.classes.length + 1) - 1 });
    const known: Record<string, () => void> = {
      '[': classes(-1),
      ']': classes(1),
      '{': layers(-1),
      '}': layers(1),
      ArrowLeft: () => void this.step(-1),
      ArrowRight: () => void this.step(1),
      Backspace: () => this.back(),
      '?': () => this.toggleHelp()
    };
    return known[key];
  }
}
