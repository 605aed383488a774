import { closest } from '../../base/lists/index.ts';

const prefix = 'portcullis.dev/';
/** The annotations of Portcullis on pods; and those that may name one container (`profile.CONTAINER`). */
const known = ['dns', 'profile', 'rootfs-size', 'services', 'shm-size'];
const forContainers = ['profile', 'rootfs-size'];
/** A pod may have thousands of annotations. */
const mostShown = 5;

export const knownAnnotations = known
  .flatMap((name) => (forContainers.includes(name) ? [name, `${name}.CONTAINER`] : [name]))
  .join(', ');

/**
 * Returns the annotations of a pod that begin with `portcullis.dev/` and that Portcullis does not know, such
 * as a mistyped `portcullis.dev/profle`, which has no effect. At most five, each with the known annotation
 * that was probably meant. Pure.
 */
export function unknownAnnotations(
  keys: readonly string[],
): readonly { readonly key: string; readonly meant?: string }[] {
  return keys
    .filter((key) => key.startsWith(prefix))
    .map((key) => ({ key, name: key.slice(prefix.length) }))
    .filter(({ name }) => !known.includes(name) && !isForContainer(name))
    .slice(0, mostShown)
    .map(({ key, name }) => {
      const [word = '', ...container] = name.split('.');
      const near = closest(word, container.length > 0 ? forContainers : known);
      return near === undefined ? { key } : { key, meant: [prefix + near, ...container].join('.') };
    });
}

const isForContainer = (name: string): boolean =>
  forContainers.some((word) => name.startsWith(`${word}.`) && name.length > word.length + 1);
