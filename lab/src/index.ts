import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, showErrorMessage } from '@jupyterlab/apputils';
import { PageConfig, PathExt, URLExt } from '@jupyterlab/coreutils';
import { IDefaultFileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { icons } from './icons';
import { book, literal, openBook } from './notebooks';

interface IExplorer {
  name: string;
  label: string;
  caption: string;
}

const EXPLORERS: IExplorer[] = [
  { name: 'unit', label: 'Units', caption: 'One unit: its map, the loop that is born, and the births over a class' },
  { name: 'layers', label: 'Layers', caption: 'Feature entropy by depth beside its controls, and every unit of a layer' },
  { name: 'rescaling', label: 'Rescaling', caption: 'Scale the weights without changing the network, and see which indicators move' },
  { name: 'ablation', label: 'Ablation', caption: 'Take units away, step by step, and see when accuracy falls' },
  { name: 'training', label: 'Training', caption: 'Profiles and loss, epoch by epoch' },
  { name: 'compare', label: 'Compare', caption: 'Two or more networks side by side' }
];

interface IExperiment {
  name: string;
  title: string;
  description: string;
}

const CHECKPOINT = /\.(pt|pth|th|safetensors)$/i;
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

/** What to run for a checkpoint: all that a file of weights does not say is to be filled in. */
function checkpointBook(file: string): any {
  const stem = PathExt.basename(file).replace(CHECKPOINT, '');
  return book([
    {
      markdown: true,
      source:
        `# Explore \`${stem}\`\n\nA checkpoint holds weights, but not the network they belong to, nor images. ` +
        'Say in the first cell which these are, then run all cells (*Run > Run All Cells*).'
    },
    {
      tags: ['parameters'],
      source: [
        'import featent as fe',
        '',
        `weights = ${literal(file)}`,
        'network = "small_vgg"  # the architecture: a name from fe.list_networks(), such as "resnet18"',
        'data = "digits"  # digits, mnist, fashion_mnist, cifar10, cifar100, or a folder with one folder of images for each class',
        'root = None  # folder that holds mnist, fashion_mnist, cifar10 or cifar100',
        'size = None  # resize images to so many pixels, such as 224 for ImageNet networks',
        'normalise = None  # "imagenet" for networks that were trained on ImageNet',
        'per_class = 20  # images of each class; more are surer, and take longer',
        'layers = "conv"  # kinds, names or patterns of layers'
      ].join('\n')
    },
    {
      source: [
        'transform = fe.preprocess(size, normalise, normalise) if normalise else None',
        'images = fe.images(data, per_class=per_class, root=root, size=size, transform=transform)',
        'net = fe.network(network, weights=weights, **({} if len(images[0][0]) == 3 else {"in_channels": len(images[0][0])}))',
        '# your own network instead: net = fe.network(MyNetwork(), weights=weights)',
        'result = fe.assess(net, images, layers=layers, null="shuffle")'
      ].join('\n')
    },
    { source: 'fe.explore(result, network=net, images=images)' }
  ]);
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

    const names = async (folder: string): Promise<{ name: string; type: string }[]> => (await app.serviceManager.contents.get(folder, { content: true })).content;
    const holds = (entries: { name: string }[]) => entries.some(({ name }) => /^(record|manifest|study)\.json$|\.csv$/.test(name));

    /** Refuse a folder without anything to explore, neither in it nor directly inside it. */
    const checkFolder = async (folder: string): Promise<void> => {
      const entries = await names(folder);
      const inside = entries.filter(({ type }) => type === 'directory').slice(0, 100);
      let found = holds(entries);
      for (let i = 0; i < inside.length && !found; i++) {
        found = holds(await names(PathExt.join(folder, inside[i].name)));
      }
      if (!found) {
        throw new Error(
          `${PathExt.basename(folder)} holds no result of featent. A result has a file record.json, and a store of births has manifest.json: ` +
            'write one with result.save(folder), or with the command featent assess.'
        );
      }
    };

    const explore = async (items: { path: string; type: string }[]): Promise<void> => {
      const { contents } = app.serviceManager;
      const folder = browser()?.model.path ?? PathExt.dirname(items[0].path);
      const relative = items.map(({ path }) => PathExt.relative(contents.localPath(folder), contents.localPath(path)));
      const stem = `explore-${PathExt.basename(items[0].path).replace(CHECKPOINT, '')}`;
      if (items[0].type !== 'directory') {
        return openBook(app, folder, stem, checkpointBook(relative[0]), false);
      }
      for (const { path } of items) {
        await checkFolder(path);
      }
      const words = relative.map(literal);
      const cell = `import featent as fe\nfe.explore(${words.length === 1 ? words[0] : `[${words.join(', ')}]`})`;
      return openBook(app, folder, stem, book([{ source: cell }]), true);
    };

    const selected = () => Array.from(browser()?.selectedItems() ?? []);
    commands.addCommand('featent:explore-path', {
      label: 'Explore with featent',
      caption: 'Explore a saved result, or the network of a checkpoint',
      icon: icons.unit,
      isVisible: () => {
        const items = selected();
        return items.length > 0 && (items.every(({ type }) => type === 'directory') || (items.length === 1 && CHECKPOINT.test(items[0].name)));
      },
      execute: () =>
        tell('explore', async () => {
          const items = selected();
          if (!items.length) {
            throw new Error('Choose a result folder or a checkpoint in the file browser first.');
          }
          await explore(items);
        })
    });
    app.contextMenu.addItem({ command: 'featent:explore-path', selector: '.jp-DirListing-item', rank: 3.5 });
    palette?.addItem({ command: 'featent:explore-path', category: CATEGORY });
  }
};

export default plugin;
