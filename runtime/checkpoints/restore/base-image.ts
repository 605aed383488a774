import { parseJson } from '../../../base/json/index.ts';
import { badArchive } from './errors.ts';

/** The fields of `config.dump` that name the image of a container (checkpointctl, CRI-O, Podman). */
const fields = ['rootfsImageRef', 'rootfsImage', 'rootfsImageID'] as const;

/**
 * Returns the digests by which `config.dump` names the image of its container: of its manifest, or of its
 * configuration. Names without a digest do not count, because anybody may move them. Pure.
 * @throws PortcullisError RUNTIME_RESTORE_ARCHIVE
 */
export function baseDigests(bytes: Uint8Array, on: string): readonly string[] {
  let document: unknown;
  try {
    document = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw badArchive(on, 'config.dump is not JSON');
  }
  if (typeof document !== 'object' || document === null) throw badArchive(on, 'config.dump is not an object');
  const values = document as Readonly<Record<string, unknown>>;
  const digests = fields.flatMap((field) => {
    const value = values[field];
    const hex =
      typeof value === 'string' ? /(?:^|@|^sha256:|@sha256:)([0-9a-f]{64})$/.exec(value)?.[1] : undefined;
    return hex === undefined ? [] : [`sha256:${hex}`];
  });
  if (digests.length === 0) throw badArchive(on, 'config.dump does not name its image by a digest');
  return digests;
}
