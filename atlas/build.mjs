// One module for the pages, one for explorers in notebooks, the style sheet, and the licences of what is bundled.
import { build } from 'esbuild';
import { readFileSync, writeFileSync, copyFileSync, mkdirSync } from 'node:fs';

const out = process.argv[2] ?? 'out';
mkdirSync(out, { recursive: true });
const made = await build({
  entryPoints: { atlas: 'src/main.ts', host: 'src/host.ts' },
  outdir: out,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  charset: 'ascii',
  legalComments: 'none',
  metafile: true
});
const names = Object.keys(made.metafile.inputs)
  .map(path => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1])
  .filter(Boolean);
const licences = [...new Set(names)].sort().map(name => {
  const folder = `node_modules/${name}`;
  const { version, license } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
  return `${name} ${version} (${license})\n\n${readFileSync(`${folder}/LICENSE`, 'utf8').trim()}\n`;
});
const line = '\n' + '-'.repeat(72) + '\n\n';
writeFileSync(`${out}/LICENSES.txt`, licences.join(line));
copyFileSync('src/atlas.css', `${out}/atlas.css`);
for (const [name, { bytes }] of Object.entries(made.metafile.outputs)) {
  console.log(name, bytes, 'bytes');
}
