// Where an atlas is: a page of its own, or a widget.

import { App } from './app';
import { FolderSource, KernelSource, PageSource } from './data';
import type { State } from './state';
import { toHash } from './state';

interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const root = document.createElement('div');
  el.append(root);
  const source = new KernelSource(model as never);
  let told = String(model.get('address') ?? '');
  const app = new App(root, source, {
    address: false,
    seen: (state: State) => {
      told = toHash(state, app.index);
      model.set('address', told);
      model.save_changes();
    }
  });
  const changed = () => {
    const wanted = String(model.get('address') ?? '');
    if (wanted !== told) {
      void app.look_at(wanted);
    }
  };
  model.on('change:address', changed);
  void app.start(told);
  return () => {
    model.off('change:address', changed);
    source.close();
    app.end();
  };
}

export default { render };

const page = typeof document === 'undefined' ? null : document.getElementById('featent-atlas');
if (page) {
  const whole = document.getElementById('part-index') !== null;
  const source = whole ? new PageSource() : new FolderSource('.');
  void new App(page, source, { address: true }).start();
}
