import type { ImageLimits } from '../limits/limits.ts';
import { layerError } from './layer-error.ts';
import { printable } from './printable.ts';
import type { SparseMap } from './sparse.ts';

/**
 * The budget for unpacking one layer. Every loop over archive data calls `goOn`, and everything that an
 * archive can multiply is counted here: the cost of a layer stays linear in its bytes and entries, whatever
 * they contain.
 */
export interface LayerBudget {
  /** Throws when the work was cancelled or has taken too long. Cheap enough for the innermost loops. */
  goOn(): void;
  /**
   * Counts one more entry at `path` (resolved, from the layer's root). @throws IMAGES_LAYER_TOO_LARGE,
   * IMAGES_LAYER_BAD_NAME
   */
  entry(path: string): void;
  /**
   * Counts one more folder that no entry has listed yet, and that an entry below it needs. @throws the errors
   * of `entry`
   */
  folder(path: string): void;
  /** Counts one more path that the kernel walks. @throws IMAGES_LAYER_TOO_LARGE */
  path(path: string): void;
  /** Counts written bytes of content. @throws IMAGES_LAYER_TOO_LARGE */
  content(bytes: number, on: string): void;
  /**
   * Counts the cost of the holes of a sparse file in addition to its data: blocks that a piece fills partly,
   * and the map.
   * @throws IMAGES_LAYER_TOO_LARGE
   */
  sparse(map: SparseMap, on: string): void;
  /** Counts bytes that stay in memory until the layer's end. @throws IMAGES_LAYER_TOO_LARGE */
  keep(bytes: number, on: string): void;
  /** Counts one more hard link that waits for the layers below. @throws IMAGES_LAYER_TOO_LARGE */
  pendingLink(on: string): void;
  /** Counts steps from name to name, in memory. @throws IMAGES_LAYER_TOO_LARGE */
  steps(count: number): void;
  /**
   * Counts one look-up of `path` in one layer below, which costs system calls. @throws IMAGES_LAYER_TOO_LARGE
   */
  lookUp(path: string): void;
  /** Counts one entry that is moved to the target of a symlink below. @throws IMAGES_LAYER_UNSUPPORTED */
  move(): void;
  readonly progress: LayerProgress;
}

/** How much of a layer is done: its deadline grows with it. */
export interface LayerProgress {
  readonly entries: number;
  /** Bytes of file content. */
  readonly bytes: number;
}

/** Linux's PATH_MAX: a container cannot use a longer path. */
export const maxPathLength = 4096;

/** Real layers stay below a tenth of each of these limits. */
const steps = { base: 4_000_000, anEntry: 64 };
const lookUps = { base: 50_000, anEntry: 32, most: 1_000_000 };
/** The kernel takes one step for each folder of a path, and one entry may need a thousand steps. */
const paths = { base: 16 * 1024 * 1024, anEntry: 1024 };
/** A piece begins and ends in a block of the disk, and a layer file maps each block by four bytes. */
const sparse = { aPiece: 2 * 4096, block: 4096, aBlock: 4, kept: 16 };
const moves = { base: 1_000, anEntry: 4 };
/** A look-up of a path of this length costs the kernel about twice as much as a short one. */
const pathUnit = 512;

export function createLayerBudget(limits: ImageLimits, goOn: (progress: LayerProgress) => void): LayerBudget {
  const progress = { entries: 0, bytes: 0 };
  const used = { listed: 0, paths: 0, kept: 0, links: 0, sparse: 0, steps: 0, lookUps: 0, moves: 0 };
  const tooLarge = (on: string, why: string): Error =>
    layerError('IMAGES_LAYER_TOO_LARGE', printable(on), why);

  function path(of: string): void {
    used.paths += of.length;
    const most = Math.min(limits.maxPathBytes, paths.base + paths.anEntry * used.listed);
    if (used.paths > most)
      throw tooLarge(of, `the paths of the layer's entries and folders have more than ${most} bytes`);
  }

  function place(at: string): void {
    goOn(progress);
    progress.entries++;
    if (progress.entries > limits.maxEntries)
      throw tooLarge(
        at,
        `the layer has more than ${limits.maxEntries} entries, including folders that it does not list`,
      );
    if (at.length > maxPathLength)
      throw layerError(
        'IMAGES_LAYER_BAD_NAME',
        printable(at),
        `the name leads to a path of more than ${maxPathLength} bytes`,
      );
    path(at);
  }

  function keep(bytes: number, on: string): void {
    used.kept += bytes;
    if (used.kept > limits.maxKeptBytes)
      throw tooLarge(
        on,
        `link targets, folder paths and folder attributes of the layer have more than ${limits.maxKeptBytes} bytes`,
      );
  }

  return {
    progress,
    goOn: () => {
      goOn(progress);
    },
    entry(at) {
      used.listed++;
      place(at);
    },
    folder: place,
    path,
    content(bytes, on) {
      progress.bytes += bytes;
      if (progress.bytes > limits.maxLayerBytes)
        throw tooLarge(on, `the layer unpacks to more than ${limits.maxLayerBytes} bytes`);
    },
    keep,
    sparse({ size, pieces }, on) {
      const map = Math.ceil(size / sparse.block) * sparse.aBlock;
      keep((pieces.length / 2) * sparse.kept + map, on);
      used.sparse += (pieces.length / 2) * sparse.aPiece + map;
      if (used.sparse > limits.ratioFloorBytes)
        throw tooLarge(
          on,
          `the pieces of its sparse files take more than ${limits.ratioFloorBytes} bytes beyond their data`,
        );
    },
    pendingLink(on) {
      used.links++;
      if (used.links > limits.maxPendingLinks)
        throw tooLarge(
          on,
          `the layer has more than ${limits.maxPendingLinks} hard links to files that it does not contain`,
        );
    },
    steps(count) {
      used.steps += count;
      if (used.steps > steps.base + steps.anEntry * progress.entries)
        throw tooLarge('layer', 'its names lead through too many symlinks and folders');
    },
    lookUp(at) {
      goOn(progress);
      used.lookUps += 1 + at.length / pathUnit;
      if (used.lookUps > Math.min(lookUps.most, lookUps.base + lookUps.anEntry * progress.entries))
        throw tooLarge(at, 'the layer needs too many look-ups in the layers below');
    },
    move() {
      goOn(progress);
      used.moves++;
      if (used.moves > moves.base + moves.anEntry * progress.entries)
        throw layerError(
          'IMAGES_LAYER_UNSUPPORTED',
          'layer',
          'too many of its folders are symlinks in the layers below',
        );
    },
  };
}
