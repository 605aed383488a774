/**
 * `npm run test:power-cuts [-- --cuts N] [--form erofs|folders] [--seed N]`: see README.md. Runs in its own
 * namespaces.
 */
import '../tenant/pid-namespace.ts';
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createRandom } from '../fixtures/random.ts';
import { portcullis } from '../fixtures/command.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { newBoot, openCutDisk } from './cut.ts';
import { publishSubjects } from './images.ts';
import type { Subject } from './images.ts';
import { differences, storedTree } from './layers.ts';
import type { LayerTree } from './layers.ts';

const { values } = parseArgs({
  options: {
    cuts: { type: 'string', default: '200' },
    form: { type: 'string', default: 'erofs' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
  },
});
const lanes = 4;
const random = createRandom(Number(values.seed));

/** The required content of each layer, by its folder. */
const wanted = new Map<string, LayerTree>();
const counts = { pulls: 0, removals: 0, survived: 0, files: 0 };

const folder = mkdtempSync(join(tmpdir(), 'pc-cuts-'));
const config = join(folder, 'config.yaml');
writeFileSync(config, `storage: { layers: ${values.form} }\n`);
mkdirSync(join(folder, 'stage/root'), { recursive: true });
const disk = openCutDisk(join(folder, 'disk.img'), join(folder, 'stage/root'));
console.log(`seed ${values.seed}, form ${values.form}`);
try {
  const stage = await openStage({ folder: join(folder, 'stage'), flags: ['--config', config] });
  try {
    const subjects = await publishSubjects(stage, below);
    for (const subject of subjects) await pull(stage, subject);
    for (const layer of new Set(subjects.flatMap(({ layers }) => layers))) {
      const tree = storedTree(placeOf(stage, layer), join(folder, 'layer'));
      assert.ok(tree !== undefined && tree.size > 0, layer);
      wanted.set(layer, tree);
    }
    for (let cut = 1; cut <= Number(values.cuts); cut += 1) {
      await cutOnce(stage, subjects);
      if (cut % 20 === 0) console.log(`${cut} cuts: ${JSON.stringify(counts)}`);
    }
    console.log(`passed: ${values.cuts} cuts, ${JSON.stringify(counts)}`);
    await stage.restart({ meanwhile: () => disk.close() });
    await stage.close();
  } finally {
    await stage.daemon.kill();
  }
} catch (thrown) {
  console.error(`failed with --seed ${values.seed} --form ${values.form}:`, thrown);
  process.exitCode = 1;
} finally {
  newBoot(join(folder, 'boots'), join(folder, 'stage'), []);
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}
process.exit();

/** Lets the lanes work, cuts the power, compares, and starts again. */
async function cutOnce(stage: Stage, subjects: readonly Subject[]): Promise<void> {
  let isOver = false;
  const work = Array.from({ length: lanes }, () => runLane(stage, subjects, () => isOver));
  await pause(20 + below(500));
  disk.cut();
  // Until it is killed, the daemon must not acknowledge data that the disk no longer stores.
  await pause(below(60));
  const unexpected: string[] = [];
  await stage.restart({
    kill: true,
    flags: ['--config', config],
    meanwhile: async () => {
      isOver = true;
      await Promise.all(work);
      newBoot(join(folder, 'boots'), stage.folders.state, [stage.registry.pid]);
      await disk.mountAgain();
      for (const subject of subjects.filter(({ isAcknowledged }) => isAcknowledged))
        unexpected.push(...compare(stage, subject));
    },
  });
  assert.deepEqual(unexpected, [], 'layers of acknowledged pulls are whole');
  const { images } = await stage.daemon.cri.image.listImages({});
  const listed = new Set(images.flatMap(({ repoTags }) => repoTags));
  const lost = subjects.filter(({ reference, isAcknowledged }) => isAcknowledged && !listed.has(reference));
  assert.deepEqual(lost, [], 'acknowledged pulls are listed');
  const { code, output } = await portcullis([
    'images',
    'check',
    '--admin-socket',
    join(stage.folders.state, 'admin.sock'),
  ]);
  assert.equal(code, 0, output);
  for (const subject of subjects) {
    // Also one whose pull or removal was under way.
    if (below(3) === 0) await pull(stage, subject);
  }
}

async function runLane(stage: Stage, subjects: readonly Subject[], isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const subject = subjects[below(subjects.length)];
    assert.ok(subject);
    try {
      if (below(3) > 0) await pull(stage, subject);
      else await remove(stage, subject);
    } catch {
      // The power is cut, or another lane removes the image during this pull.
      if (!isOver()) await pause(5);
    }
  }
}

async function pull(stage: Stage, subject: Subject): Promise<void> {
  const before = subject.removals;
  await stage.pull(subject.reference);
  counts.pulls += 1;
  if (subject.removals === before) subject.isAcknowledged = true;
}

async function remove(stage: Stage, subject: Subject): Promise<void> {
  subject.removals += 1;
  subject.isAcknowledged = false;
  await stage.daemon.cri.image.removeImage({ image: { image: subject.reference } });
  counts.removals += 1;
}

/** Returns what differs in the layers of an acknowledged image, before the daemon starts. */
function compare(stage: Stage, { reference, layers }: Subject): readonly string[] {
  counts.survived += 1;
  return layers.flatMap((layer) => {
    const tree = wanted.get(layer) ?? new Map<string, string>();
    counts.files += tree.size;
    return differences(storedTree(placeOf(stage, layer), join(folder, 'layer')), tree).map(
      (path) => `${reference}: ${layer}: ${path}`,
    );
  });
}

function placeOf(stage: Stage, layer: string): string {
  return join(stage.folders.root, 'images/layers', layer);
}

/** Returns a whole number from 0 up to, not including, `most`. */
function below(most: number): number {
  return Math.floor(random() * most);
}
