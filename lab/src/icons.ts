import { LabIcon } from '@jupyterlab/ui-components';

const grey = 'class="jp-icon3" fill="#616161"';
const line = 'class="jp-icon3" stroke="#616161" style="fill: none" stroke-linecap="round" stroke-width="1.5"';
const blue = '#0072B2';
const orange = '#E69F00';

function icon(name: string, drawing: string): LabIcon {
  const svgstr = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">${drawing}</svg>`;
  return new LabIcon({ name: `featent:${name}`, svgstr });
}

function square(x: number, y: number, side: number, fill: string): string {
  return `<rect x="${x}" y="${y}" width="${side}" height="${side}" rx="0.6" fill="${fill}"/>`;
}

/** Eight pixels around a hole: a loop is born. */
function loop(x: number, y: number, step: number): string {
  const fills = ['#0072B2', '#0072B2', '#56B4E9', '#56B4E9', '', '#0072B2', '#56B4E9', '#009E73', '#E69F00'];
  return fills.map((fill, i) => (fill ? square(x + (i % 3) * step, y + Math.floor(i / 3) * step, step * 0.86, fill) : '')).join('');
}

export const icons: { [name: string]: LabIcon } = {
  atlas: icon('atlas', loop(3, 3, 6.2)),
  rescaling: icon('rescaling', loop(2, 12.5, 3) + loop(12, 2, 3.5) + `<path ${line} d="M5 9V4h5M19 15v5h-5"/>`),
  ablation: icon(
    'ablation',
    `<path ${line} d="M3 3v18h18"/><path d="M5 6h7c2 0 1 11 3 11h5" stroke="${blue}" stroke-width="1.8" fill="none"/>` +
      `<path d="M13 3v17" stroke="${orange}" stroke-width="1.5" stroke-dasharray="2 1.6" fill="none"/>`
  ),
  training: icon(
    'training',
    `<path ${line} d="M3 3v18h18"/><path d="M5 6c2 8 6 11 15 12" stroke="${orange}" stroke-width="1.8" fill="none"/>` +
      `<path d="M5 18c5-1 6-11 15-12" stroke="${blue}" stroke-width="1.8" fill="none"/>`
  ),
  compare: icon(
    'compare',
    `<rect ${line} x="2.5" y="4" width="8.5" height="16" rx="1"/><rect ${line} x="13" y="4" width="8.5" height="16" rx="1"/>` +
      [8, 5, 3].map((w, i) => `<rect x="4.3" y="${7 + 4 * i}" width="${w * 0.65}" height="2" fill="${blue}"/>`).join('') +
      [7, 6, 5].map((w, i) => `<rect x="14.8" y="${7 + 4 * i}" width="${w * 0.65}" height="2" fill="${orange}"/>`).join('')
  ),
  open: icon('open', `<path ${line} d="M2.5 20V5h6l2 2.5h11V20z"/>` + loop(8, 9.6, 2.9)),
  experiment: icon(
    'experiment',
    `<path ${grey} d="M9 2h6v1.6h-1v5.2l5.6 9.7A2.3 2.3 0 0 1 17.6 22H6.4a2.3 2.3 0 0 1-2-3.5L10 8.8V3.6H9z"/>` +
      `<path d="M8.3 14.5h7.4l2.3 4.2c.4.8 0 1.5-.7 1.5H6.700c-.7 0-1.1-.7-.7-1.5z" fill="${orange}"/>`
  )
};
