import { JupyterFrontEnd } from '@jupyterlab/application';
import { ISessionContext, SemanticCommand } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';

/** What is needed here of an open notebook. */
interface IPanel {
  id: string;
  context: { ready: Promise<void> };
  sessionContext: ISessionContext;
}

/** A cell of a notebook to be written. */
export interface ICell {
  source: string;
}

/** A Python string literal. */
export function literal(text: string): string {
  return JSON.stringify(text);
}

/** Content of a new notebook. */
export function book(cells: ICell[]): any {
  return {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {},
    cells: cells.map((cell, i) => ({
      id: `cell-${i}`,
      cell_type: 'code',
      metadata: {},
      source: cell.source,
      execution_count: null,
      outputs: []
    }))
  };
}

/** `folder/stem.ipynb`, or with the first number that is free. */
async function freePath(app: JupyterFrontEnd, folder: string, stem: string): Promise<string> {
  const listing = await app.serviceManager.contents.get(folder, { content: true });
  const taken = new Set<string>(listing.content.map((entry: { name: string }) => entry.name.toLowerCase()));
  let name = `${stem}.ipynb`;
  for (let i = 1; taken.has(name.toLowerCase()); i++) {
    name = `${stem}-${i}.ipynb`;
  }
  return PathExt.join(folder, name);
}

/** The environment's own Python kernel, or another one of Python. */
async function pythonKernel(app: JupyterFrontEnd): Promise<{ name: string; display_name: string; language: string }> {
  const { kernelspecs } = app.serviceManager;
  await kernelspecs.ready;
  const known = kernelspecs.specs?.kernelspecs ?? {};
  const isPython = (name: string) => known[name]?.language.toLowerCase() === 'python';
  const chosen = ['python3', kernelspecs.specs?.default ?? '', ...Object.keys(known)].find(isPython);
  if (!chosen) {
    throw new Error('This server has no Python kernel. Install one beside featent: python -m pip install ipykernel');
  }
  return { name: chosen, display_name: known[chosen]!.display_name, language: 'python' };
}

/** An idle kernel of another open explorer of this folder: what that has made need not be made again. */
function sharedKernel(app: JupyterFrontEnd, folder: string, name: string): string | undefined {
  const panels = Array.from(app.shell.widgets('main')) as any[];
  const kernels = panels.map(panel => {
    const path: string = panel.context?.path ?? '';
    const near = PathExt.dirname(path) === PathExt.removeSlash(folder) && /^explore-[^/]*\.ipynb$/.test(PathExt.basename(path));
    return near ? (panel.sessionContext?.session?.kernel ?? null) : null;
  });
  return kernels.find(kernel => kernel?.name === name && kernel.status === 'idle')?.id;
}

/** Write a notebook into `folder` under a name that is free, open it, and run it if told so. */
export async function openBook(app: JupyterFrontEnd, folder: string, stem: string, content: any, run: boolean): Promise<void> {
  const kernel = await pythonKernel(app);
  const path = await freePath(app, folder, stem);
  const metadata = { ...content.metadata, kernelspec: kernel };
  await app.serviceManager.contents.save(path, { type: 'notebook', format: 'json', content: { ...content, metadata } });
  const id = run ? sharedKernel(app, folder, kernel.name) : undefined;
  const open = { path, factory: 'Notebook', kernel: id ? { id, name: kernel.name } : { name: kernel.name } };
  const panel: IPanel | undefined = await app.commands.execute('docmanager:open', open);
  if (!panel) {
    throw new Error(`JupyterLab could not open ${path}.`);
  }
  await panel.context.ready;
  if (run) {
    await panel.sessionContext.ready;
    const started = panel.sessionContext.session?.kernel;
    await started?.info; // a run that is asked for before the kernel answers gets lost
    if (started) {
      void app.commands.execute('notebook:run-all-cells', { [SemanticCommand.WIDGET]: panel.id }); // errors are told in the notebook
    }
  }
}

/** Put lines below the cell that an event comes from, unless they are there. */
export function insertLines(app: JupyterFrontEnd, event: CustomEvent<string>): void {
  const from = event.target as Node;
  const panels = Array.from(app.shell.widgets('main')) as any[];
  const content = panels.find(panel => panel.node.contains(from))?.content;
  const cells: any[] = content?.widgets ?? [];
  const at = cells.findIndex(cell => cell.node.contains(from));
  if (at >= 0 && cells[at + 1]?.model.sharedModel.getSource() !== event.detail) {
    content.model.sharedModel.insertCell(at + 1, { cell_type: 'code', source: event.detail, metadata: {} });
  }
}
