import { closeSync, openSync, rmSync } from 'node:fs';
import { reasonOf } from '../../../base/errors/index.ts';
import { createPreContentGroup, markPreContent } from '../../../base/kernel/index.ts';

/**
 * Tries whether the kernel and the file system of a folder support pre-content events (Linux 6.14). @returns
 * the reason for which they do not; undefined: they do
 */
export function whyNoPreContentEvents(folder: string): string | undefined {
  const path = `${folder}/pre-content-probe.${process.pid}`;
  let fd: number | undefined;
  let group: number | undefined;
  try {
    fd = openSync(path, 'w', 0o600);
    group = createPreContentGroup();
    markPreContent(group, path);
    return undefined;
  } catch (thrown) {
    return reasonOf(thrown);
  } finally {
    for (const open of [fd, group]) if (open !== undefined) closeSync(open);
    rmSync(path, { force: true });
  }
}
