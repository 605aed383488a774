import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import {
  AF_INET,
  O_RDONLY,
  SOCK_DGRAM,
  closeFd,
  inNamespaces,
  openFile,
  socket,
} from '../../base/kernel/index.ts';
import { namespaceIdOf } from '../namespaces/namespace-id.ts';
import type { HostNamespace } from './host-namespace.ts';

/**
 * Finds host network namespaces by their ids. The caller of a plugin may be in another namespace than
 * ours, and may be gone by now. So the search covers namespaces that a process is in or that are pinned. A
 * namespace with neither has ended, and our sockets must not keep it alive.
 */
export interface OpenNamespace extends HostNamespace {
  /** The name in /proc: `net:[4026531840]`. */
  readonly namespace: string;
  close(): void;
}

const ownPath = '/proc/thread-self/ns/net';

function namespaceIdInside(inside: <T>(body: () => T) => T, path: string): string {
  using opened = new DisposableStack();
  const open = (): number => socket(AF_INET, SOCK_DGRAM, 0);
  return namespaceIdOf(opened.adopt(inside(open), closeFd), path);
}

/** Returns the namespace of this thread. */
export function ownNamespace(): HostNamespace {
  return { namespaceId: namespaceIdInside((body) => body(), ownPath), inside: (body) => body() };
}

/** Opens those of `wanted` that exist. Takes some milliseconds, because it looks at every process. */
export function findNamespaces(wanted: ReadonlySet<string>): OpenNamespace[] {
  const found: OpenNamespace[] = [];
  const missing = new Set(wanted);
  for (const [namespace, path] of namespacePaths()) {
    if (missing.size === 0) break;
    const place = openNamespace(namespace, path);
    if (place === undefined) continue;
    if (missing.delete(place.namespaceId)) found.push(place);
    else place.close();
  }
  return found;
}

/** Returns the names of all namespaces, except our own, that a process is in or that are pinned. */
export const existingNamespaces = (): ReadonlySet<string> => new Set(namespacePaths().keys());

function openNamespace(namespace: string, path: string): OpenNamespace | undefined {
  let fd: number | undefined;
  try {
    const found = openFile(path, O_RDONLY);
    try {
      // A descriptor that was opened by the pin would prevent the pin from being unmounted.
      fd = inNamespaces({ net: found }, () => openFile(ownPath, O_RDONLY));
    } finally {
      closeFd(found);
    }
    const opened = fd;
    const inside = <T>(body: () => T): T => inNamespaces({ net: opened }, body);
    return {
      namespace,
      namespaceId: namespaceIdInside(inside, `/proc/self/fd/${opened}`),
      inside,
      close: () => closeFd(opened),
    };
  } catch {
    // The namespace has ended meanwhile.
    if (fd !== undefined) closeFd(fd);
    return undefined;
  }
}

/** Returns the names, with one path for each. */
function namespacePaths(): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/u.test(pid)) continue;
    const path = `/proc/${pid}/ns/net`;
    try {
      const name = readlinkSync(path);
      if (!paths.has(name)) paths.set(name, path);
    } catch {
      // The process has ended.
    }
  }
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    // proc_pid_mountinfo(5): the fourth field is the root, which for nsfs is the namespace's name; the fifth
    // field is the mount point, with spaces as \040.
    const [, , , name = '', at = ''] = line.split(' ');
    if (name.startsWith('net:[') && !paths.has(name)) paths.set(name, unescaped(at));
  }
  paths.delete(readlinkSync(ownPath));
  return paths;
}

const unescaped = (path: string): string =>
  path.replaceAll(/\\([0-7]{3})/gu, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
