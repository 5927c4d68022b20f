import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { PageConfig, PathExt, URLExt } from '@jupyterlab/coreutils';
import { IDefaultFileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { EXPLORERS } from './explorers';
import { icons } from './icons';
import { book, insertLines, literal, openBook } from './notebooks';

interface IEntry {
  name: string;
  type: string;
}

interface IExperiment {
  name: string;
  title: string;
  description: string;
}

const PICTURE = /\.(png|jpe?g|bmp|ppm|pgm|tiff?|webp|gif)$/i;
const CHECKPOINT = /\.(pt|pth|th|safetensors)$/i;
const RESULT = /^(record|manifest|study)\.json$|\.csv$/;
const PART = /^(train|test|val|valid|validation)$/i;
const CATEGORY = 'featent';
const EXPERIMENTS = 'featent experiments';

/** Do something; what goes wrong is told in a dialog. */
async function tell(what: string, work: () => Promise<any>): Promise<void> {
  try {
    await work();
  } catch (error) {
    console.warn(`featent: ${what}`, error);
    await showErrorMessage(`featent: ${what}`, error instanceof Error ? error.message : String(error));
  }
}

/** Whether some name in a folder is of a kind. */
function holds(entries: IEntry[], kind: RegExp): boolean {
  return entries.some(({ name }) => kind.test(name));
}

/** A file of this extension on the server. */
async function shipped(name: string): Promise<any> {
  const base = URLExt.join(PageConfig.getBaseUrl(), 'lab/extensions');
  const url = URLExt.join(PageConfig.getOption('fullLabextensionsUrl') || base, 'featent/notebooks', name);
  const answer = await fetch(url, { cache: 'no-cache' });
  if (!answer.ok) {
    throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  }
  return answer.json();
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'featent:plugin',
  description: 'Launcher cards, commands and a context menu for the explorers and experiments of featent.',
  autoStart: true,
  optional: [ILauncher, ICommandPalette, IDefaultFileBrowser, IFileBrowserFactory],
  activate: (
    app: JupyterFrontEnd,
    launcher: ILauncher | null,
    palette: ICommandPalette | null,
    defaultBrowser: IDefaultFileBrowser | null,
    browsers: IFileBrowserFactory | null
  ) => {
    const { commands } = app;
    const browser = () => browsers?.tracker.currentWidget ?? defaultBrowser;
    const folderOf = (args: any): string => (typeof args.cwd === 'string' ? args.cwd : browser()?.model.path ?? '');

    EXPLORERS.forEach(({ name, label, caption }, rank) => {
      const command = `featent:explore-${name}`;
      const title = `Explore ${label.toLowerCase()}`;
      commands.addCommand(command, {
        label: args => (args.isPalette ? `featent: ${title}` : label),
        caption,
        icon: icons[name],
        execute: args =>
          tell(title, () =>
            openBook(app, folderOf(args), `explore-${name}`, book([{ source: `import featent as fe\nfe.explore(explorer=${literal(name)})` }]), true)
          )
      });
      launcher?.add({ command, category: CATEGORY, rank });
      palette?.addItem({ command, category: CATEGORY, args: { isPalette: true } });
    });

    const addExperiment = ({ name, title, description }: IExperiment, rank: number) => {
      const command = `featent:experiment-${name}`;
      const label = name.charAt(0).toUpperCase() + name.slice(1).replace(/_/g, ' ');
      commands.addCommand(command, {
        label: args => (args.isPalette ? `featent: Experiment ${name}: ${title}` : label),
        caption: `${title} ${description}`,
        icon: icons.experiment,
        execute: args => tell(`experiment ${name}`, async () => openBook(app, folderOf(args), name, await shipped(`${name}.ipynb`), false))
      });
      launcher?.add({ command, category: EXPERIMENTS, rank });
      palette?.addItem({ command, category: CATEGORY, args: { isPalette: true } });
    };
    shipped('index.json').then(
      (experiments: IExperiment[]) => experiments.forEach(addExperiment),
      error => console.warn('featent: the list of experiments is missing; install featent again', error)
    );

    const names = async (folder: string): Promise<IEntry[]> => (await app.serviceManager.contents.get(folder, { content: true })).content;

    /** Refuse a folder without anything to explore: no result in it or directly inside it, and no folder of pictures for each class. */
    const checkFolder = async (folder: string): Promise<void> => {
      const entries = await names(folder);
      const inside = entries.filter(({ type }) => type === 'directory').slice(0, 100);
      const parts = inside.filter(({ name }) => PART.test(name));
      let found = holds(entries, RESULT);
      let pictured = 0;
      for (let i = 0; i < inside.length && !found; i++) {
        const below = await names(PathExt.join(folder, inside[i].name));
        pictured += holds(below, PICTURE) ? 1 : 0;
        found = holds(below, RESULT) || (pictured === i + 1 && pictured === Math.min(inside.length, 5) && pictured > 1);
      }
      if (!found && parts.length && parts.length === inside.length) {
        return checkFolder(PathExt.join(folder, parts[0].name));
      }
      if (!found) {
        throw new Error(
          `${PathExt.basename(folder)} holds neither a result of featent nor images by class. A result has a file record.json, and a store of births has manifest.json: ` +
            'write one with result.save(folder), or with the command featent assess. Images are in folders, one for each class.'
        );
      }
    };

    const explore = async (items: { path: string; type: string }[]): Promise<void> => {
      const { contents } = app.serviceManager;
      const folder = browser()?.model.path ?? PathExt.dirname(items[0].path);
      const relative = items.map(({ path }) => PathExt.relative(contents.localPath(folder), contents.localPath(path)));
      const stem = `explore-${PathExt.basename(items[0].path).replace(CHECKPOINT, '')}`;
      for (const { path, type } of items) {
        if (type === 'directory') {
          await checkFolder(path);
        }
      }
      const words = relative.map(literal);
      const cell = `import featent as fe\nfe.explore(${words.length === 1 ? words[0] : `[${words.join(', ')}]`})`;
      return openBook(app, folder, stem, book([{ source: cell }]), true);
    };

    document.addEventListener('featent-lines', event => insertLines(app, event as CustomEvent<string>));

    const selected = () => Array.from(browser()?.selectedItems() ?? []);
    commands.addCommand('featent:explore-path', {
      label: 'Explore with featent',
      caption: 'Explore a saved result, the network of a checkpoint, or one on images by class',
      icon: icons.atlas,
      isVisible: () => {
        const items = selected();
        return items.length > 0 && (items.every(({ type }) => type === 'directory') || (items.length === 1 && CHECKPOINT.test(items[0].name)));
      },
      execute: () =>
        tell('explore', async () => {
          const items = selected();
          if (!items.length) {
            throw new Error('Choose a result folder, a checkpoint, or a folder of images by class in the file browser first.');
          }
          await explore(items);
        })
    });
    app.contextMenu.addItem({ command: 'featent:explore-path', selector: '.jp-DirListing-item', rank: 3.5 });
    palette?.addItem({ command: 'featent:explore-path', category: CATEGORY });
  }
};

export default plugin;
