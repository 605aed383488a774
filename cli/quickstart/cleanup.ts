import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, rmdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { attempt } from '../../base/errors/index.ts';
import type { CriClient } from './daemon.ts';
import type { Environment } from './environment.ts';

/** Removes every pod of the daemon, as far as the daemon answers. */
export async function removePods({ runtime }: CriClient): Promise<void> {
  const { items } = await runtime.listPodSandbox({}, { timeoutMs: 5000 });
  for (const { id: podSandboxId } of items) {
    await runtime.stopPodSandbox({ podSandboxId }, { timeoutMs: 10_000 });
    await runtime.removePodSandbox({ podSandboxId }, { timeoutMs: 10_000 });
  }
}

/**
 * Cleans up when the daemon is gone: kills processes in our cgroup or with our folder in their command line,
 * and removes the cgroup.
 */
export async function sweep({
  folder,
  cgroupParent,
}: Pick<Environment, 'folder' | 'cgroupParent'>): Promise<void> {
  const groups = cgroupsBelow(cgroupParent);
  const inGroups = groups.flatMap((group) => read(`${group}/cgroup.procs`).split('\n'));
  const naming = readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && read(`/proc/${name}/cmdline`).includes(folder),
  );
  const remaining = [...inGroups, ...naming].map(Number).filter((pid) => pid > 1 && pid !== process.pid);
  // A process may have ended already.
  for (const pid of remaining) attempt(() => process.kill(pid, 'SIGKILL'));
  if (remaining.length > 0) await pause(200);
  // A cgroup may still have processes, or be gone.
  for (const group of groups) attempt(() => rmdirSync(group));
}

/**
 * Unmounts everything that is still mounted in `folder`, deepest first: removing the folder must not reach
 * into a mount.
 */
export function unmountBelow(folder: string): void {
  const below = read('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${folder}/`));
  for (const path of below.toReversed()) spawnSync('umount', ['--lazy', path], { stdio: 'ignore' });
}

/** Lists the folders of a cgroup in every hierarchy, deepest first. */
export function cgroupsBelow(parent: string): string[] {
  const find = [
    '/sys/fs/cgroup',
    '-depth',
    '-type',
    'd',
    '(',
    '-path',
    `*${parent}`,
    '-o',
    '-path',
    `*${parent}/*`,
    ')',
  ];
  const listed = attempt(() =>
    execFileSync('find', find, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  return listed?.split('\n').filter((path) => path !== '') ?? [];
}

function read(path: string): string {
  return attempt(() => readFileSync(path, 'utf8')) ?? '';
}
