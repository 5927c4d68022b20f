// What the explorers of a notebook need of the page around them: its theme, their keys,
// names for what can be touched, and a way for lines of code into the notebook.

interface Model {
  get(key: string): string;
  set(key: string, value: string): void;
  save_changes(): void;
  on(event: string, act: () => void): void;
  off(event: string, act: () => void): void;
}

/** "light" or "dark" as the page says it; nothing where it does not. */
function themeOf(body: HTMLElement): string {
  const { jpThemeLight } = body.dataset;
  if (jpThemeLight) {
    return jpThemeLight === 'true' ? 'light' : 'dark';
  }
  if (/\bvscode-(dark|light|high-contrast)/.test(body.className)) {
    return /\bvscode-light\b/.test(body.className) ? 'light' : 'dark';
  }
  return '';
}

/** Handles of sliders and buttons with nothing but an icon get a name: that of their line, or of the icon. */
function nameControls(root: HTMLElement): void {
  const name = (e: Element, words?: string | null) => words && e.setAttribute('aria-label', words);
  root.querySelectorAll('.noUi-handle:not([aria-label])').forEach(handle => {
    const line = handle.closest('.widget-inline-hbox, .jupyter-widget-slider');
    name(handle, line?.querySelector('.widget-label')?.textContent);
  });
  root.querySelectorAll('button:not([aria-label]) > i.fa:only-child').forEach(icon => {
    const button = icon.parentElement!;
    if (!button.textContent?.trim() && !button.title) {
      name(button, icon.className.match(/\bfa-(\w+)/)?.[1]);
    }
  });
}

/** A key that is pressed inside stays inside, unless it is meant for the application. */
function keepKey(event: KeyboardEvent): void {
  if (!event.ctrlKey && !event.metaKey) {
    event.stopPropagation();
  }
}

/** Once an element is in the page, around which its widgets are. */
function inPage(el: HTMLElement, act: (root: HTMLElement) => void): void {
  const root = el.closest<HTMLElement>('.featent-explorer');
  if (root) {
    act(root);
  } else {
    requestAnimationFrame(() => inPage(el, act));
  }
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const themed = () => {
    const theme = themeOf(document.body);
    if (theme && theme !== model.get('theme')) {
      model.set('theme', theme);
      model.save_changes();
    }
  };
  const told = () => {
    const detail = model.get('lines');
    if (detail) {
      el.dispatchEvent(new CustomEvent('featent-lines', { bubbles: true, detail }));
    }
  };
  const theme = new MutationObserver(themed);
  const inside = new MutationObserver(() => inPage(el, nameControls));
  theme.observe(document.body, { attributeFilter: ['data-jp-theme-light', 'class'] });
  themed();
  model.on('change:lines', told);
  inPage(el, root => {
    root.addEventListener('keydown', keepKey); // keys of the notebook mean something else
    nameControls(root);
    inside.observe(root, { childList: true, subtree: true });
  });
  return () => {
    theme.disconnect();
    inside.disconnect();
    model.off('change:lines', told);
  };
}

export default { render };
