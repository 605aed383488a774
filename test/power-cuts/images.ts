import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { busyboxLayer, layerOf } from '../fixtures/image.ts';
import type { Entry, Layer } from '../fixtures/image.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Returns a whole number from 0 up to, not including, `most`. */
type Below = (most: number) => number;

/** An image that lanes pull and remove. */
export interface Subject {
  readonly reference: string;
  /** Folders of its layers in the store. */
  readonly layers: readonly string[];
  /** How many removals of it have begun. */
  removals: number;
  /** A pull of it was acknowledged, and no removal has begun since the pull began. */
  isAcknowledged: boolean;
}

/** Number of files and their mean size in bytes, for the own layer of each image. */
const shapes = [
  [400, 500],
  [1, 6_000_000],
  [40, 50_000],
  [3, 0],
  [200, 4_096],
  [10, 300_000],
  [1_000, 20],
  [2, 2_000_000],
] as const;

/** Images with large, small, empty and many files, which share layers with each other. */
export async function publishSubjects(stage: Stage, below: Below): Promise<readonly Subject[]> {
  const busybox = await busyboxLayer();
  const shared = await Promise.all(
    [0, 1].map((number) => layerOf(filesOf(below, `shared${number}`, 60, 2_000))),
  );
  const subjects: Subject[] = [];
  for (const [number, [files, size]] of shapes.entries()) {
    const own = await layerOf(filesOf(below, `own${number}`, files, size));
    const under = shared[number % 2];
    assert.ok(under);
    const layers: readonly Layer[] = [under, own];
    const { reference } = await stage.publish(`cut/i${number}:1`, { layers });
    subjects.push({
      reference,
      layers: [busybox, ...layers].map(({ diffId }) => diffId.slice('sha256:'.length)),
      removals: 0,
      isAcknowledged: false,
    });
  }
  return subjects;
}

/** The folders are in the archive too: a layer without them depends on the layers below. */
function filesOf(below: Below, name: string, files: number, size: number): readonly Entry[] {
  const folders = ['', ...Array.from({ length: Math.min(files, 9) }, (_, number) => `d${number}/`)];
  return [
    ...folders.map((path): Entry => ({ name: `${name}/${path}`, type: 'directory' })),
    ...Array.from({ length: files }, (_, number) => ({
      name: `${name}/d${number % 9}/f${number}`,
      body: randomBytes(size === 0 ? 0 : 1 + below(2 * size)),
    })),
  ];
}
