// Where an atlas is shown: on a page of its own, or in a notebook as a widget.

import { App } from './app';
import { FolderSource, KernelSource, PageSource, type Kernel } from './data';

/** Light or dark as the site around says it, where the page is in a frame of a site. */
function followHost(): void {
  try {
    const host = window.parent.document.body;
    const follow = () => {
      const dark = host.classList.contains('quarto-dark');
      if (dark || host.classList.contains('quarto-light')) {
        document.body.dataset.jpThemeLight = String(!dark);
      }
    };
    new MutationObserver(follow).observe(host, { attributeFilter: ['class'] });
    follow();
  } catch {
    // the page around is of another origin, and none of ours
  }
}

const page = document.getElementById('featent-atlas');
if (page) {
  const whole = document.getElementById('part-index') !== null;
  if (window.parent !== window) {
    followHost();
  }
  const source = whole ? new PageSource() : new FolderSource('.');
  void new App(page, source, { address: true }).start();
}

interface Model extends Kernel {
  get(key: string): string;
  set(key: string, value: string): void;
  save_changes(): void;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const root = document.createElement('div');
  el.append(root);
  const source = new KernelSource(model);
  const changed = (hash: string) => {
    model.set('look', hash);
    model.save_changes();
  };
  const app = new App(root, source, { address: false, changed });
  const seek = () => void app.seek(model.get('look'));
  model.on('change:look', seek);
  void app.start(model.get('look'));
  return () => {
    model.off('change:look', seek);
    source.end();
    app.end();
  };
}

export default { render };
