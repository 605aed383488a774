import { PortcullisError } from '../../../base/errors/index.ts';
import { bytesOf } from '../../config/bytes.ts';

const annotation = 'portcullis.dev/rootfs-size';
/** A smaller size has no space for the files that runtimes create for a container. */
const smallest = 64 * 1024;

/**
 * Returns how much a container may write into its root file system, in bytes: the size that the pod requests
 * for it (`portcullis.dev/rootfs-size.CONTAINER`, else `portcullis.dev/rootfs-size`), at most the size in the
 * configuration.
 * @returns undefined: no limit. `asked`: the pod requests the limit, so it is refused if it cannot be
 * enforced.
 * @throws PortcullisError RUNTIME_BAD_SIZE
 */
export function writableLimit(
  annotations: Readonly<Record<string, string>>,
  container: string,
  configured: string,
): { readonly bytes: number; readonly asked: boolean } | undefined {
  const most = bytesOf(configured) ?? 0;
  const key = [`${annotation}.${container}`, annotation].find((name) => Object.hasOwn(annotations, name));
  if (key === undefined) return most === 0 ? undefined : { bytes: most, asked: false };
  const bytes = annotatedSize(annotations, key);
  if (bytes < smallest) throw badSize(key, annotations[key] ?? '', `it must be ${smallest} bytes or more`);
  return { bytes: most === 0 ? bytes : Math.min(bytes, most), asked: true };
}

/**
 * Returns the size in an annotation, in bytes.
 * @throws PortcullisError RUNTIME_BAD_SIZE
 */
export function annotatedSize(annotations: Readonly<Record<string, string>>, key: string): number {
  const text = annotations[key] ?? '';
  const bytes = bytesOf(text);
  if (bytes === undefined) throw badSize(key, text, 'it is not a size');
  return bytes;
}

export function badSize(key: string, text: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_SIZE',
    kind: 'invalid',
    attempted: `read annotation ${key}`,
    on: JSON.stringify(text.slice(0, 64)),
    why,
    fix: 'write a number of bytes, or a number with Ki, Mi or Gi, such as 2Gi',
  });
}
