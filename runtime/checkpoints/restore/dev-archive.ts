import { gzipSync } from 'node:zlib';
import type { OciSpec } from '../../oci/spec.types.ts';
import { archiveEnd, headerOf } from './tar-headers.ts';
import type { Entry } from './tar-headers.ts';

/** Devices that every container has: runtime-spec, config-linux.md#default-devices. */
const defaultDevices: readonly Entry[] = (
  [
    ['null', 1, 3],
    ['zero', 1, 5],
    ['full', 1, 7],
    ['random', 1, 8],
    ['urandom', 1, 9],
    ['tty', 5, 0],
  ] as const
).map(([name, major, minor]) => ({ name, type: 'device', mode: 0o666, device: [major, minor] }));

/** runtime-spec, config-linux.md#dev-symbolic-links. */
const links: readonly Entry[] = (
  [
    ['fd', '/proc/self/fd'],
    ['stdin', '/proc/self/fd/0'],
    ['stdout', '/proc/self/fd/1'],
    ['stderr', '/proc/self/fd/2'],
    ['ptmx', 'pts/ptmx'],
  ] as const
).map(([name, target]) => ({ name, type: 'link', mode: 0o777, target }));

/**
 * Returns the archive of a new /dev, from which criu fills the temporary file system there. criu unpacks it
 * as root, so it contains what the specification has, and nothing of the archive of the checkpoint.
 * @param isFile whether the source of a mount below /dev is a file
 */
export function devArchive(
  spec: Pick<OciSpec, 'mounts'>,
  isFile: (destination: string) => boolean,
): Uint8Array {
  const places = spec.mounts
    .map(({ destination }) => destination)
    .filter((destination) => destination.startsWith('/dev/') && isInside(destination.slice('/dev/'.length)))
    .map((destination): Entry => ({
      name: destination.slice('/dev/'.length),
      ...(isFile(destination) ? { type: 'file', mode: 0o644 } : { type: 'folder', mode: 0o755 }),
    }));
  const named = new Map([...defaultDevices, ...links, ...places].map((entry) => [entry.name, entry]));
  const above = [...named.keys()].flatMap(parentsOf).filter((name) => !named.has(name));
  const folders = [...new Set(above)].map((name): Entry => ({ name, type: 'folder', mode: 0o755 }));
  const byDepth = [...folders, ...named.values()].sort((a, b) => depthOf(a.name) - depthOf(b.name));
  return archiveOf([{ name: './', type: 'folder', mode: 0o755 }, ...byDepth]);
}

/** Returns the archive of an empty folder. */
export function emptyArchive(): Uint8Array {
  return archiveOf([{ name: './', type: 'folder', mode: 0o755 }]);
}

const isInside = (name: string): boolean =>
  name.split('/').every((part) => !['', '.', '..'].includes(part)) && Buffer.byteLength(name) < 256;

const depthOf = (name: string): number => name.split('/').length;

function parentsOf(name: string): string[] {
  const parts = name.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

function archiveOf(entries: readonly Entry[]): Uint8Array {
  return gzipSync(Buffer.concat([...entries.map(headerOf), archiveEnd]));
}
