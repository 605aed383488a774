import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Everything in the kernel that a runtime can leave behind, a line each, as seen from our namespaces. */
export function kernelTraces(folder: string, cgroupParent: string): readonly string[] {
  return [...mounts(folder), ...links(), ...rules(), ...cgroups(cgroupParent), ...processes(folder)].sort();
}

/** What `after` has that `before` had not. */
export function newTraces(before: readonly string[], after: readonly string[]): readonly string[] {
  return after.filter((trace) => !before.includes(trace));
}

function mounts(folder: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(folder))
    .map((path) => `mount ${path}`);
}

function links(): string[] {
  const all = JSON.parse(execFileSync('ip', ['-json', 'link'], { encoding: 'utf8' })) as { ifname: string }[];
  return all.map((link) => `link ${link.ifname}`);
}

/** Chains, rules and the elements of sets, without the counters and handles that change by themselves. */
function rules(): string[] {
  const listing = execFileSync('nft', ['--stateless', 'list', 'ruleset'], { encoding: 'utf8' });
  return listing
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== '}')
    .map((line) => `nft ${line}`);
}

function cgroups(parent: string): string[] {
  const find = ['/sys/fs/cgroup', '-type', 'd', '-path', `*${parent}*`];
  return execFileSync('find', find, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    .split('\n')
    .filter((path) => path !== '')
    .map((path) => `cgroup ${path}`);
}

/** Processes that name our folder or live in our mount namespace, except ourselves and what we started on purpose. */
function processes(folder: string): string[] {
  const ours = readlinkSync('/proc/self/ns/mnt');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const apart = readlinkSync(`/proc/${pid}/ns/mnt`) === ours || command.includes(folder);
        return apart && command !== '' ? [`process ${command}`] : [];
      } catch {
        return []; // it ended while we looked
      }
    });
}

/** Files under `folders` whose path or content holds one of the needles. */
export function filesThatHold(folders: readonly string[], needles: readonly (string | Uint8Array)[]): readonly string[] {
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
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  } catch {
    return [];
  }
}
