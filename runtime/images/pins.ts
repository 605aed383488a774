import { tryImageName } from './image-name.ts';
import type { ImageRecord, ImageStore } from './types.ts';

/**
 * The images that a kubelet never removes to free space. Patterns as in CRI-O's `pinned_images`
 * (crio.conf(5)): a whole reference, the beginning of a reference before `*`, or a part of a reference
 * between two `*`.
 */
export interface Pins {
  isPinned(names: Pick<ImageRecord, 'repoTags' | 'repoDigests'>): boolean;
  /** Replaces all patterns. */
  replace(patterns: readonly string[]): void;
}

export function createPins(patterns: readonly string[]): Pins {
  let pinned = matcherOf(patterns);
  return {
    isPinned: ({ repoTags, repoDigests }) => repoTags.some(pinned) || repoDigests.some(pinned),
    replace(others) {
      pinned = matcherOf(others);
    },
  };
}

/**
 * Names of images are normalised; so are whole references, as in `busybox`. The other patterns are compared
 * as they are.
 */
function matcherOf(patterns: readonly string[]): (name: string) => boolean {
  const whole = new Set(
    patterns
      .filter((pattern) => !pattern.endsWith('*'))
      .map((pattern) => tryImageName(pattern)?.text ?? pattern),
  );
  const parts = patterns
    .filter((pattern) => pattern.length > 1 && pattern.startsWith('*'))
    .map((pattern) => pattern.slice(1, -1));
  const beginnings = patterns.filter(
    (pattern) => pattern.endsWith('*') && (pattern === '*' || !pattern.startsWith('*')),
  );
  return (name) =>
    whole.has(name) ||
    beginnings.some((pattern) => name.startsWith(pattern.slice(0, -1))) ||
    parts.some((part) => name.includes(part));
}

/** Returns the image store, with `pinned` set in the records of pinned images. */
export function withPins<Store extends ImageStore>(images: Store, pins: Pins): Store {
  const marked = (record: ImageRecord): ImageRecord =>
    pins.isPinned(record) ? { ...record, pinned: true } : record;
  return {
    ...images,
    pull: async (request) => {
      const pulled = await images.pull(request);
      return { ...pulled, image: marked(pulled.image) };
    },
    list: () => images.list().map(marked),
    find: (nameOrId) => {
      const found = images.find(nameOrId);
      return found && marked(found);
    },
  };
}
