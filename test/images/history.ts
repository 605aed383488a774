import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import { createRandom } from '../fixtures/random.ts';
import { publishArtifact } from '../fixtures/artifact.ts';
import { layerOf } from '../fixtures/image.ts';
import { createContainer, execute, removePod, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** An image or artifact that lanes pull and remove. */
interface Subject {
  readonly reference: string;
  readonly isArtifact: boolean;
  /** The output of `cat` for the files of a container that has it. */
  readonly content: string;
  readonly files: readonly string[];
  readonly isPinned: boolean;
  /** How many removals of it have begun, and how many have ended. */
  begun: number;
  ended: number;
}

interface Running {
  readonly id: string;
  readonly image: Subject;
  readonly volume: Subject | undefined;
}

export interface HistoryOptions {
  /**
   * The least time. A slow machine gets more, until each act has succeeded once or {@link patience} has
   * passed.
   */
  readonly seconds: number;
  readonly seed: number;
  readonly lanes: number;
}

/** Counts of the acts that have succeeded. */
export type Counts = Record<'pull' | 'remove' | 'collect' | 'create' | 'look' | 'end', number>;

/** The longest time, in milliseconds, that the lanes wait for the first success of an act. */
const patience = 120_000;

/** The pattern to be configured as `images.pinned`. */
export const pinnedPattern = `${registryName}/history/pinned*`;

/** A container cannot be created from an image, or with a volume, that another lane has just removed. */
const goneCodes: ReadonlySet<string> = new Set([
  'RUNTIME_IMAGE_NOT_FOUND',
  'IMAGES_NOT_FOUND',
  'RUNTIME_IMAGE_VOLUME',
  'IMAGES_NAME_NOT_RECORDED',
]);

/**
 * Lets all lanes act at random, then removes everything and checks that nothing is left.
 * @throws AssertionError, or the error of a request that must succeed
 */
export async function runHistory(stage: Stage, options: HistoryOptions): Promise<Counts> {
  const subjects = await publishSubjects(stage);
  const counts: Counts = { pull: 0, remove: 0, collect: 0, create: 0, look: 0, end: 0 };
  const start = performance.now();
  const isOver = (): boolean => {
    const passed = performance.now() - start;
    const isComplete = Object.values(counts).every((count) => count > 0);
    return passed >= options.seconds * 1000 && (isComplete || passed >= patience);
  };
  const lanes = Array.from({ length: options.lanes }, (_, number) =>
    runLane(stage, subjects, counts, createRandom(options.seed * 1000 + number), number, isOver),
  );
  const failed = (await Promise.allSettled(lanes)).find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  await checkEmpty(stage);
  return counts;
}

/** Images that share layers with each other, one that is pinned, and two artifacts that share a file. */
async function publishSubjects(stage: Stage): Promise<readonly Subject[]> {
  const shared = await Promise.all(
    [0, 1].map((index) => layerOf([{ name: `shared${index}`, body: `shared ${index}\n` }])),
  );
  const subjects: Subject[] = [];
  for (const [index, name] of ['a', 'b', 'c', 'd', 'pinned'].entries()) {
    const own = await layerOf([{ name: 'own', body: `own ${name}\n` }]);
    const below = shared[index % 2];
    assert.ok(below);
    const { reference } = await stage.publish(`history/${name}:1`, { layers: [below, own] });
    const content = `shared ${index % 2}\nown ${name}\n`;
    subjects.push({
      reference,
      isArtifact: false,
      content,
      files: [`/shared${index % 2}`, '/own'],
      isPinned: name === 'pinned',
      begun: 0,
      ended: 0,
    });
  }
  for (const name of ['e', 'f']) {
    const reference = await publishArtifact(stage, `history/${name}`, {
      'all/same': 'same\n',
      own: `own ${name}\n`,
    });
    const files = ['/volume/all/same', '/volume/own'];
    subjects.push({
      reference,
      isArtifact: true,
      content: `same\nown ${name}\n`,
      files,
      isPinned: false,
      begun: 0,
      ended: 0,
    });
  }
  return subjects;
}

async function runLane(
  stage: Stage,
  subjects: readonly Subject[],
  counts: Counts,
  random: () => number,
  number: number,
  isOver: () => boolean,
): Promise<void> {
  const running: Running[] = [];
  const pod = await runPod(stage, `lane${number}`);
  const any = <T>(list: readonly T[]): T | undefined => list[Math.floor(random() * list.length)];
  const images = subjects.filter(({ isArtifact }) => !isArtifact);
  const artifacts = subjects.filter(({ isArtifact }) => isArtifact);
  const acts: Readonly<Record<keyof Counts, () => Promise<boolean>>> = {
    pull: () => pull(stage, any(subjects)),
    remove: () => remove(stage, any(subjects), random() < 0.5),
    collect: () => collect(stage, subjects),
    async create() {
      const made = await create(
        stage,
        pod,
        `c${counts.create}-${number}`,
        any(images),
        random() < 0.4 ? any(artifacts) : undefined,
      );
      if (made !== undefined) running.push(made);
      return made !== undefined;
    },
    look: () => look(stage, any(running)),
    async end() {
      const [one] = running.splice(Math.floor(random() * running.length), 1);
      if (one === undefined) return false;
      await look(stage, one);
      await stage.daemon.cri.runtime.removeContainer({ containerId: one.id });
      return true;
    },
  };
  const weights: readonly (keyof Counts)[] = [
    'pull',
    'pull',
    'pull',
    'pull',
    'remove',
    'remove',
    'collect',
    'create',
    'create',
    'create',
    'look',
    'end',
    'end',
  ];
  while (!isOver()) {
    const name = any(weights) ?? 'pull';
    if (await acts[name]()) counts[name] += 1;
  }
  for (const one of running) await look(stage, one);
  await removePod(stage, pod);
}

async function pull(stage: Stage, subject: Subject | undefined): Promise<boolean> {
  if (subject === undefined) return false;
  const wasSpared = watchRemovals(subject);
  const id = await stage.pull(subject.reference);
  const { image } = await stage.daemon.cri.image.imageStatus({ image: { image: subject.reference } });
  if (wasSpared()) assert.equal(image?.id, id, `${subject.reference} is lost after its pull`);
  if (image !== undefined) assert.equal(image.pinned, subject.isPinned);
  return true;
}

/** Returns a function that returns whether no removal was in progress since this call. */
function watchRemovals(subject: Subject): () => boolean {
  const { begun, ended } = subject;
  return () => begun === ended && subject.begun === begun;
}

/** Counts removals of the subjects while `act` runs. */
async function removing<T>(subjects: readonly Subject[], act: () => Promise<T>): Promise<T> {
  for (const subject of subjects) subject.begun += 1;
  try {
    return await act();
  } finally {
    for (const subject of subjects) subject.ended += 1;
  }
}

async function remove(stage: Stage, subject: Subject | undefined, byId: boolean): Promise<boolean> {
  if (subject === undefined) return false;
  const { image: service } = stage.daemon.cri;
  await removing([subject], async () => {
    const { image } = await service.imageStatus({ image: { image: subject.reference } });
    await service.removeImage({
      image: { image: byId ? (image?.id ?? subject.reference) : subject.reference },
    });
  });
  return true;
}

/**
 * Removes every image that no container uses and that is not pinned, as a kubelet and `crictl rmi --prune`
 * do.
 */
async function collect(stage: Stage, subjects: readonly Subject[]): Promise<boolean> {
  const { image: service, runtime } = stage.daemon.cri;
  const watched = subjects.map((subject) => ({
    reference: subject.reference,
    wasSpared: watchRemovals(subject),
  }));
  const listed = (await service.listImages({})).images;
  const used = new Set<string>();
  for (const { imageRef, image } of (await runtime.listContainers({})).containers)
    for (const name of [imageRef, image?.image]) if (name) used.add(name);
  const free = listed.filter(
    ({ id, pinned, repoTags, repoDigests }) =>
      !pinned && ![id, ...repoTags, ...repoDigests].some((name) => used.has(name)),
  );
  const names = new Set(free.flatMap(({ repoTags }) => repoTags));
  await removing(
    subjects.filter(({ reference }) => names.has(reference)),
    async () => {
      for (const { id } of free) await service.removeImage({ image: { image: id } });
    },
  );
  const left = new Set((await service.listImages({})).images.flatMap(({ repoTags }) => repoTags));
  for (const { reference, wasSpared } of watched) {
    const was = listed.some(({ repoTags }) => repoTags.includes(reference));
    if (was && wasSpared())
      assert.ok(left.has(reference), `${reference} is lost after a garbage collection that had to keep it`);
  }
  return true;
}

async function create(
  stage: Stage,
  pod: Pod,
  name: string,
  image: Subject | undefined,
  volume: Subject | undefined,
): Promise<Running | undefined> {
  if (image === undefined) return undefined;
  const mounts =
    volume === undefined
      ? []
      : [
          {
            containerPath: '/volume',
            readonly: true,
            image: { image: volume.reference, userSpecifiedImage: volume.reference },
          },
        ];
  try {
    const ask = {
      name,
      image: image.reference,
      reference: image.reference,
      command: ['sleep', '600'],
      more: { mounts },
    };
    const id = await createContainer(stage, pod, ask);
    await stage.daemon.cri.runtime.startContainer({ containerId: id });
    return { id, image, volume };
  } catch (thrown) {
    if (isPortcullisError(thrown) && goneCodes.has(thrown.code)) return undefined;
    throw thrown;
  }
}

/** Reads the files of all layers, whether their images were removed meanwhile or not. */
async function look(stage: Stage, one: Running | undefined): Promise<boolean> {
  if (one === undefined) return false;
  const { image, volume } = one;
  const { stdout, stderr } = await execute(stage, one.id, 'cat', ...image.files, ...(volume?.files ?? []));
  assert.equal(
    stdout,
    image.content + (volume?.content ?? ''),
    `files of a container of ${image.reference}: ${stderr}`,
  );
  return true;
}

/** Removes all images, and waits until the background work of removals has ended. */
async function checkEmpty(stage: Stage): Promise<void> {
  const { image: service } = stage.daemon.cri;
  for (const { id } of (await service.listImages({})).images)
    await service.removeImage({ image: { image: id } });
  const root = join(stage.folders.root, 'images');
  const left = (): string[] =>
    ['ingest', 'staging', 'blobs/sha256', 'layers', 'rootfs', 'volumes', 'mounts', 'trash'].flatMap((name) =>
      readdirSync(join(root, name)).map((file) => `${name}/${file}`),
    );
  for (let waited = 0; left().length > 0 && waited < 60_000; waited += 50) await pause(50);
  assert.deepEqual(left(), [], 'nothing is left in the image store');
  const [filesystem] = (await service.imageFsInfo({})).imageFilesystems;
  assert.deepEqual([filesystem?.usedBytes?.value, filesystem?.inodesUsed?.value], [0, 0]);
}
