import { readSync } from 'node:fs';
import { attempt } from '../../errors/index.ts';
import { closeFd, openFile } from '../files/files.ts';
import { inNamespaces } from './namespaces.ts';
import { O_NOFOLLOW, O_RDONLY } from '../ffi/constants.ts';

/** Far more than a pod's /proc/net/dev. A longer text is truncated. */
const longest = 1024 * 1024;

/**
 * Reads `/proc/net/<name>` in pinned network namespaces, one text per pin, in their order; undefined if the
 * pin or the file cannot be opened. A file of /proc/net belongs to the namespace in which it was opened, so
 * only the opening runs inside. Runs in a Worker.
 */
export function readNetFiles(pins: readonly string[], name: string): (string | undefined)[] {
  return pins.map((pin) => {
    return attempt(() => readNetFile(pin, name));
  });
}

function readNetFile(pin: string, name: string): string {
  const net = openFile(pin, O_RDONLY | O_NOFOLLOW);
  let fd: number;
  try {
    fd = inNamespaces({ net }, () => openFile(`/proc/thread-self/net/${name}`, O_RDONLY));
  } finally {
    closeFd(net);
  }
  using opened = new DisposableStack();
  opened.defer(() => closeFd(fd));
  const chunks: Buffer[] = [];
  let length = 0;
  while (length < longest) {
    const chunk = Buffer.allocUnsafe(16 * 1024);
    const got = readSync(fd, chunk);
    if (got === 0) break;
    chunks.push(chunk.subarray(0, got));
    length += got;
  }
  return Buffer.concat(chunks).toString('latin1');
}
