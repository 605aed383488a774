import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { cgroupsBelow } from './cleanup.ts';

/**
 * Lists everything in the kernel that a runtime can leave behind, one line each, as seen from our namespaces.
 */
export function kernelTraces(folder: string, cgroupParent: string): readonly string[] {
  return [
    ...mounts(folder),
    ...links(),
    ...rules(),
    ...cgroupsBelow(cgroupParent).map((path) => `cgroup ${path}`),
    ...processes(folder),
  ].sort();
}

/** Returns the entries of `after` that are not in `before`. */
export function newTraces(before: readonly string[], after: readonly string[]): readonly string[] {
  return after.filter((trace) => !before.includes(trace));
}

/**
 * Lists mounts in our mount namespace and in those of the processes that name our folder, because the daemon
 * has its own.
 */
function mounts(folder: string): string[] {
  const places = [
    'self',
    ...readdirSync('/proc').filter((name) => /^\d+$/.test(name) && command(name).includes(folder)),
  ];
  const tables = new Map(places.map((place) => [link(`/proc/${place}/ns/mnt`), place]));
  return [...tables.values()]
    .flatMap((place) => read(`/proc/${place}/mountinfo`).split('\n'))
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(folder))
    .map((path) => `mount ${path}`)
    .filter((trace, index, all) => all.indexOf(trace) === index);
}

function links(): string[] {
  const all = parseJson(execFileSync('ip', ['-json', 'link'], { encoding: 'utf8' })) as { ifname: string }[];
  return all.map((link) => `link ${link.ifname}`);
}

/** Lists chains, rules and the elements of sets, without counters and handles, which change by themselves. */
function rules(): string[] {
  const listing = execFileSync('nft', ['--stateless', 'list', 'ruleset'], { encoding: 'utf8' });
  return listing
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== '}')
    .map((line) => `nft ${line}`);
}

/**
 * Lists processes that name our folder or live in our mount namespace, except this process and those it
 * started on purpose.
 */
function processes(folder: string): string[] {
  const ours = link('/proc/self/ns/mnt');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => link(`/proc/${pid}/ns/mnt`) === ours || command(pid).includes(folder))
    .map((pid) => `process ${command(pid)}`)
    .filter((trace) => trace !== 'process ');
}

// A process may end during the look-up: then its command line is empty.
const command = (pid: string): string => read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();

function read(path: string): string {
  return attempt(() => readFileSync(path, 'utf8')) ?? '';
}

function link(path: string): string {
  return attempt(() => readlinkSync(path)) ?? '';
}

/** Lists files under `folders` whose path or content holds one of the needles. */
export function filesThatHold(
  folders: readonly string[],
  needles: readonly (string | Uint8Array)[],
): readonly string[] {
  const bytes = needles.map((needle) => Buffer.from(needle as string));
  return folders.flatMap((folder) =>
    filesBelow(folder).filter((path) => {
      if (needles.some((needle) => typeof needle === 'string' && path.includes(needle))) return true;
      try {
        const content = readFileSync(path);
        return bytes.some((needle) => content.includes(needle));
      } catch {
        return false; // a socket, or gone
      }
    }),
  );
}

export function filesBelow(folder: string): string[] {
  const entries = attempt(() => readdirSync(folder, { recursive: true, withFileTypes: true })) ?? [];
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
