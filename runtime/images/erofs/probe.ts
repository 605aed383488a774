import { closeSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Kernel } from '../../../base/kernel/index.ts';
import { defaultLimits } from '../limits/limits.ts';
import { createJobCell, createWorkClock } from '../unpack/work-clock.ts';
import { openLayerFile } from './check-layer.ts';
import { encodeLayer } from './encode-layer.ts';
import { mountBy, mountWayOf } from './mount-layer.ts';
import type { MountWay } from './mount-layer.ts';
import { protectFile } from './protect-file.ts';

const fileName = 'probe';
const content = 'content of a file';

/**
 * Returns how layer files in a folder are mounted on this machine. Writes the file of one layer there,
 * protects it by fs-verity if the file system supports that, mounts it and reads it. If the kernel does not
 * mount from a file, tries a loop device. Leaves nothing in the folder.
 * @throws only the errors of writing to the folder
 */
export async function probeLayerMounts(
  kernel: Pick<Kernel, 'openDetachedMount'>,
  folder: string,
): Promise<MountWay> {
  const planned = mountWayOf(folder);
  if (planned.kind === 'none') return planned;
  const place = mkdtempSync(`${folder}/probe-`);
  try {
    const archive = tarOf(fileName, content);
    const blob = `${place}/archive`;
    const path = `${place}/layer`;
    writeFileSync(blob, archive);
    const diffId = `sha256:${createHash('sha256').update(archive).digest('hex')}`;
    const request = { blob, path, diffId, lowest: true, limits: defaultLimits };
    const record = await encodeLayer(
      request,
      () => Promise.resolve([]),
      createWorkClock(createJobCell(), diffId),
      new AbortController().signal,
    );
    const isProtected = protectFile(path) !== undefined;
    using opened = new DisposableStack();
    const fd = opened.adopt(openLayerFile(path, record), closeSync);
    const failures: string[] = [];
    for (const kind of planned.kind === 'file' ? (['file', 'loop'] as const) : (['loop'] as const)) {
      const way = { ...planned, kind, ...(isProtected && { verity: true }) };
      const failure = await tryMount(kernel, fd, way);
      if (failure === undefined) return way;
      failures.push(`${kind}: ${failure}`);
    }
    return { kind: 'none', why: failures.join('; ') };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Returns why a layer file cannot be mounted and read in the given way; undefined: it can. */
async function tryMount(
  kernel: Pick<Kernel, 'openDetachedMount'>,
  fd: number,
  way: Exclude<MountWay, { kind: 'none' }>,
): Promise<string | undefined> {
  try {
    using opened = new DisposableStack();
    const mount = opened.adopt(await mountBy(kernel, fd, way), closeSync);
    return readFileSync(`/proc/self/fd/${mount}/${fileName}`, 'utf8') === content
      ? undefined
      : 'a file has other content';
  } catch (thrown) {
    return reasonOf(thrown);
  }
}

/** Returns an archive of one file: POSIX.1-2017 pax, "ustar Interchange Format". */
function tarOf(name: string, body: string): Buffer {
  const archive = Buffer.alloc(4 * 512);
  archive.write(name, 0);
  for (const [at, text] of [
    [100, '0000644\0'],
    [108, '0000000\0'],
    [116, '0000000\0'],
    [124, `${body.length.toString(8).padStart(11, '0')}\0`],
    [136, '00000000000\0'],
    [148, '        '],
    [156, '0'],
    [257, 'ustar\u000000'],
  ] as const)
    archive.write(text, at, 'latin1');
  const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  archive.write(body, 512);
  return archive;
}
