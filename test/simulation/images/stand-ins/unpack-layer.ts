import { hash } from 'node:crypto';
import { imageError } from '../../../../runtime/images/limits/failures.ts';
import type { UnpackRequest, UnpackedLayer } from '../../../../runtime/images/unpack/unpack-layer.ts';
import { call, machine, writeWhole } from '../machine.ts';
import { readLayer } from '../registry.ts';
import { throughDescriptor } from '../descriptors.ts';

/**
 * Replaces `unpack-layer.ts`: the simulated layers are not archives. It reads their blobs and writes their
 * files one by one.
 */
export async function unpackLayer(
  request: UnpackRequest,
  askLowers: (entries: number) => Promise<readonly string[]>,
  _clock: unknown,
  signal: AbortSignal,
): Promise<UnpackedLayer> {
  const { staging, blob, diffId, lowest } = request;
  const { disk, used } = machine();
  const root = `${staging}/fs`;
  await call('write', 'mkdir', root, () => {
    disk.remove(staging, { recursive: true, force: true });
    disk.makeFolder(staging, true);
    disk.makeFolder(root, false);
  });
  const layer = readLayer(await call('read', 'read', blob, () => disk.file(blob).text), diffId);
  if (layer === undefined)
    throw imageError({
      ...{ code: 'IMAGES_DIFF_ID_MISMATCH', kind: 'precondition', attempted: 'unpack layer', on: diffId },
      ...{ why: 'its bytes are not those of its diff id', fix: 'push the image again' },
    });
  const dependent = layer.dependent && !lowest;
  if (dependent)
    for (const lower of await askLowers(layer.files.length))
      used(throughDescriptor(lower), undefined, `unpacking of ${diffId}`);
  const lines: object[] = [{ p: '', t: 'd', m: 0o755 }];
  for (const [name, text] of layer.files) {
    signal.throwIfAborted();
    await writeWhole(`${root}/${name}`, text, true);
    lines.push({ p: name, t: 'f', m: 0o644, s: text.length, h: hash('sha256', text, 'hex') });
  }
  const manifest = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  await writeWhole(`${staging}/files.ndjson`, manifest, true);
  return {
    dependent,
    manifestSha256: hash('sha256', manifest, 'hex'),
    bytes: 4096,
    inodes: layer.files.length + 1,
  };
}
