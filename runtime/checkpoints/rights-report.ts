import { lstat, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { OciSpec } from '../oci/spec.types.ts';
import { excessOf } from './images/compare.ts';
import type { Excess } from './images/compare.ts';
import { isRead, readRights } from './images/read-rights.ts';

/** Bounds the time for which the main thread reads images. */
const mostImages = 2_000;
/** They are read at about 6 MiB in a second. The image of a thread is smaller than 2 KiB. */
const mostBytes = 4 * 1024 * 1024;
const mostShown = 1_000;

/** The member of an archive with the report. */
export const reportFile = 'rights.json';

/**
 * Writes a report into the folder of a checkpoint: the rights of its processes that exceed the specification
 * of the container. An analysis looks for processes with such rights.
 * @param spec the OCI specification, as text
 */
export async function writeReport(folder: string, spec: string): Promise<readonly Excess[]> {
  const excess = await excessIn(join(folder, 'checkpoint'), parseJson(spec) as OciSpec).catch(
    (cause: unknown): Excess[] => [
      { kind: 'unknown', what: `the images cannot be read: ${reasonOf(cause)}` },
    ],
  );
  await writeFile(join(folder, reportFile), JSON.stringify({ excess: excess.slice(0, mostShown) }, null, 2), {
    mode: 0o600,
  });
  return excess;
}

async function excessIn(folder: string, spec: OciSpec): Promise<Excess[]> {
  const names = await readdir(folder);
  if (names.length > mostImages) throw new Error(`there are more than ${mostImages} images`);
  const images = new Map<string, Buffer>();
  let bytes = 0;
  for (const name of names.filter(isRead)) {
    // The size first: a container with many open files has images of hundreds of megabytes.
    bytes += (await lstat(join(folder, name))).size;
    if (bytes > mostBytes) throw new Error(`the images are larger than ${mostBytes} bytes`);
    images.set(name, await readFile(join(folder, name)));
  }
  const rights = readRights({
    names,
    read: (name) => {
      const image = images.get(name);
      if (image === undefined) throw new Error(`there is no image ${name}`);
      return image;
    },
  });
  // The runtime compiled the filter, and the first process has it: a thread with fewer filters has escaped a
  // filter.
  const first = rights.threads.find(({ pid, tid }) => pid === 1 && tid === undefined) ?? rights.threads[0];
  const filters = spec.linux.seccomp === undefined ? undefined : first?.filters;
  const unfiltered: Excess[] =
    spec.linux.seccomp !== undefined && filters === undefined
      ? [{ kind: 'more', what: 'the first process has no seccomp filter' }]
      : [];
  return [...unfiltered, ...excessOf(rights, { spec, filters })];
}
