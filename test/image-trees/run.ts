/**
 * `npm run test:image-trees [-- --only WORDS,WORDS] [--peers umoci,containerd]`: see README.md. Runs in its
 * own namespaces.
 */
import '../fixtures/private-namespaces.ts';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { compareTrees } from './compare.ts';
import { writeLayout } from './layout.ts';
import { matrix } from './matrix.ts';
import { ourTrees } from './product-tree.ts';
import { imageName, openContainerd, openUmoci, tag } from './peers.ts';
import type { Peer } from './peers.ts';
import { listTree } from '../../runtime/images/erofs/erofs.fixture.ts';

const { values } = parseArgs({
  options: { only: { type: 'string', default: '' }, peers: { type: 'string', default: 'umoci,containerd' } },
});
const words = values.only.split(',');
const chosen = Object.entries(matrix).filter(([name]) => words.some((word) => name.includes(word)));
if (chosen.length === 0) throw new TypeError('--only names no image');
const wanted = values.peers.split(',');

const folder = mkdtempSync('/var/tmp/portcullis-image-trees-');
for (const each of ['umoci', 'containerd', 'layouts']) mkdirSync(`${folder}/${each}`);
const kernel = await startKernelWorker();
const peers: Peer[] = [];
const counts = { images: 0, entries: 0, equal: 0, explained: 0, unexplained: 0 };

/** Returns how the tree of a peer differs from ours. */
function judge(peer: Peer, name: string, layout: string, ours: readonly string[]): string {
  let theirs: readonly string[];
  try {
    theirs = peer.withTree(layout, listTree);
  } catch (thrown) {
    theirs = [`refused: ${reasonOf(thrown)}`];
  }
  const { unexplained, explained } = compareTrees(peer.name, name, ours, theirs);
  if (unexplained.length > 0) {
    counts.unexplained += 1;
    return `${peer.name} DIFFERS\n${unexplained
      .slice(0, 12)
      .map((line) => `      ${line}`)
      .join('\n')}`;
  }
  if (explained.length === 0) {
    counts.equal += 1;
    return `${peer.name} equal`;
  }
  counts.explained += 1;
  return `${peer.name} differs as explained (${explained.join('; ')})`;
}

try {
  if (wanted.includes('umoci')) peers.push(openUmoci(`${folder}/umoci`));
  if (wanted.includes('containerd')) peers.push(await openContainerd(`${folder}/containerd`));
  for (const [name, make] of chosen) {
    const layers = make();
    const { file, folder: asFolder } = await ourTrees(kernel, `${folder}/ours`, layers);
    counts.images += 1;
    counts.entries += file.length;
    const forms = compareTrees('folder', name, file, asFolder).unexplained;
    if (forms.length > 0) counts.unexplained += 1;
    const layout = `${folder}/layouts/${counts.images}`;
    writeLayout(layout, layers, tag, imageName);
    const verdicts = peers.map((peer) => judge(peer, name, layout, file));
    rmSync(layout, { recursive: true });
    const ours =
      forms.length === 0
        ? 'both forms equal'
        : `OUR FORMS DIFFER\n      ${forms.slice(0, 12).join('\n      ')}`;
    console.log(
      `${name}: ${layers.length} layers, ${file.length} entries: ${[ours, ...verdicts].join(', ')}`,
    );
  }
} finally {
  for (const peer of peers) await peer.close();
  await kernel.close();
  rmSync(folder, { recursive: true, force: true });
}
console.log(
  `image-trees: ${counts.images} images, ${counts.entries} entries; with other programs ${counts.equal} equal, ${counts.explained} explained, ${counts.unexplained} unexplained`,
);
process.exit(counts.unexplained === 0 ? 0 : 1);
