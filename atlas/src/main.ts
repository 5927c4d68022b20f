// The page of an atlas: its parts are in it, or in the folder beside it.

import { App } from './app';
import { FolderSource, PageSource } from './data';

const page = document.getElementById('featent-atlas');
if (page) {
  const whole = document.getElementById('part-index') !== null;
  const source = whole ? new PageSource() : new FolderSource('.');
  void new App(page, source, { address: true }).start();
}
