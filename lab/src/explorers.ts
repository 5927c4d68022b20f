// Made from the table in featent.explorers.registry: build the extension anew.

export interface IExplorer {
  name: string;
  label: string;
  caption: string;
}

export const EXPLORERS: IExplorer[] = [
  { name: 'atlas', label: 'Atlas', caption: 'Layers, units and images: every map with its loop, every birth beside its control' },
  { name: 'rescaling', label: 'Rescaling', caption: 'Scale the weights without changing the network, and see which indicators move' },
  { name: 'ablation', label: 'Ablation', caption: 'Take units away, step by step, and see when accuracy falls' },
  { name: 'training', label: 'Training', caption: 'Profiles and loss, epoch by epoch' },
  { name: 'compare', label: 'Compare', caption: 'Two or more networks side by side' },
  { name: 'open', label: 'Your network', caption: 'Choose a network, its weights and images in a form, and look at its units' }
];
