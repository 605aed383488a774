import type { PathSegment } from '../../base/schema/index.ts';
import { readWorkload } from '../../trust/gate/index.ts';
import type { UnreadPart, WorkloadImage, WorkloadReader } from '../../trust/gate/index.ts';
import type { Review } from './read-review.ts';

/**
 * An object with more images would delay other reviews. Kubernetes itself limits only the size of an object.
 */
export const mostImages = 1000;
/** Thrown when an object is refused in any case: reading the rest would delay other reviews too. */
const enough = new Error('the object has too many images, or too many problems');

/** The images of a review. */
export interface ReviewedImages {
  /** Images that the object did not name before the change; if there are too many, {@link mostImages} + 1. */
  readonly images: readonly WorkloadImage[];
  /** Why an image cannot be decided about. */
  readonly problems: readonly string[];
  /** Parts that may lead to images that the review does not show, and that the change adds. */
  readonly unread: readonly string[];
}

/**
 * Returns the images that a change adds to an object. Images that the object named before are not decided
 * about again, so that a new policy does not prevent changes of running objects, such as the removal of a
 * finalizer. The node decides about the images that it runs.
 */
export function reviewedImages({ operation, object, oldObject, namespace }: Review): ReviewedImages {
  if (operation !== 'CREATE' && operation !== 'UPDATE') return { images: [], problems: [], unread: [] };
  const before = new Set<string>();
  const brokenBefore = new Set<string>();
  const unreadBefore = new Set<string>();
  if (operation === 'UPDATE')
    readWorkload(oldObject, namespace, {
      // A controller reports images in the status, and whoever may write it would admit them.
      image: ({ reference, path }) => path[0] !== 'status' && before.add(reference),
      problem: (path) => brokenBefore.add(nameOf(path, oldObject)),
      unread: (part) => unreadBefore.add(describeUnread(part)),
    });
  const images: WorkloadImage[] = [];
  const problems: string[] = [];
  const unread = new Set<string>();
  const reader: WorkloadReader = {
    image(image) {
      // The namespace of the request counts, not the namespace field of the object.
      if (!before.has(image.reference)) images.push({ ...image, namespace });
      if (images.length > mostImages) throw enough;
    },
    problem(path, message, fix) {
      if (!brokenBefore.has(nameOf(path, object))) problems.push(`${message}; ${fix}`);
      if (problems.length > mostImages) throw enough;
    },
    unread: (part) => unread.add(describeUnread(part)),
  };
  try {
    readWorkload(object, namespace, reader);
  } catch (thrown) {
    if (thrown !== enough) throw thrown;
  }
  return { images, problems, unread: [...unread].filter((text) => !unreadBefore.has(text)) };
}

/** A review contains one object, so an object that it refers to is never available. */
function describeUnread({ object, target, why }: UnreadPart): string {
  if (target === undefined) return `${object}: ${why}`;
  const name = `${target.namespace === '' ? '' : `${target.namespace}/`}${target.name}`;
  return `${object}: the images of the ${target.kind} ${name} are not checked, because it is another object`;
}

/** Another value in the same place is another problem. A problem of the whole object has no value. */
function nameOf(path: readonly PathSegment[], object: unknown): string {
  const value = path.reduce<unknown>(
    (part, step) => (Object(part) as Record<PathSegment, unknown>)[step],
    object,
  );
  return JSON.stringify(path.length === 0 ? [path] : [path, value]);
}
