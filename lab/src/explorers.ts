// Made from the table in featent.explorers.registry: build the extension anew.

export interface IExplorer {
  name: string;
  label: string;
  caption: string;
}

export const EXPLORERS: IExplorer[] = [
  { name: 'unit', label: 'Units', caption: 'One unit: its map, the loop that is born, and the births over a class' },
  { name: 'layers', label: 'Layers', caption: 'Feature entropy by depth beside its controls, and every unit of a layer' },
  { name: 'rescaling', label: 'Rescaling', caption: 'Scale the weights without changing the network, and see which indicators move' },
  { name: 'ablation', label: 'Ablation', caption: 'Take units away, step by step, and see when accuracy falls' },
  { name: 'training', label: 'Training', caption: 'Profiles and loss, epoch by epoch' },
  { name: 'compare', label: 'Compare', caption: 'Two or more networks side by side' },
  { name: 'open', label: 'Your network', caption: 'Choose a network, its weights and images in a form, and look at its units' }
];
