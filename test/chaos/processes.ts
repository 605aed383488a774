import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

export interface Seen {
  readonly pid: number;
  readonly command: string;
  /** By type: `net` → `net:[4026531840]`. */
  readonly namespaces: ReadonlyMap<string, string>;
}

export const namespaceTypes = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'] as const;

/**
 * Returns every process that can only come from our daemon: it lives in our network namespace, names our
 * folder, or runs in a cgroup of ours. The suite itself, its registry and unrelated processes on this machine
 * are left out.
 */
export function processesOfOurs(
  stage: { readonly folder: string; readonly registryPid: number },
  isOurCgroup: (path: string) => boolean,
): readonly Seen[] {
  const network = namespaceOf('self', 'net');
  const known = new Set([process.pid, stage.registryPid]);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && !known.has(Number(name)))
    .flatMap((name) => {
      // Read the command line once: a process that ends meanwhile must not be reported without it.
      const command = text(`/proc/${name}/cmdline`);
      // A kernel thread, or a process that is ending, has no command line.
      if (command === '') return [];
      const cgroups = text(`/proc/${name}/cgroup`).split('\n');
      const isOurs =
        namespaceOf(name, 'net') === network ||
        command.includes(stage.folder) ||
        cgroups.some((line) => isOurCgroup(line.slice(line.indexOf('/'))));
      if (!isOurs) return [];
      const namespaces = new Map(namespaceTypes.map((type) => [type, namespaceOf(name, type)]));
      return [{ pid: Number(name), command: command.replaceAll('\0', ' ').trim(), namespaces }];
    });
}

export function namespaceOf(process: string, type: string): string {
  try {
    return readlinkSync(`/proc/${process}/ns/${type}`);
  } catch {
    return '';
  }
}

/** A process may end during the read: the result is empty then. */
export function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
