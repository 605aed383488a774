import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { makeCgroupRoot } from '../fixtures/kubelet/cgroup-root.ts';
import { lasting, leftovers } from '../house/leftovers.ts';

/** A program that runs in its own namespaces and cgroups. */
interface Apart {
  /** Names the folder and the cgroup of the run. */
  readonly name: string;
  /** The script, and what follows the folder of the run in its arguments. */
  readonly script: string;
  readonly args: readonly string[];
  /** Copies the logs to this folder at the end. */
  readonly keepLogs: string | undefined;
  /** Returns the paths below the folder of the run that `keepLogs` copies. */
  readonly logsOf: (folder: string) => readonly string[];
}

/**
 * Runs a script in its own mount, network, PID, IPC and cgroup namespaces, with a folder of its own, and
 * removes everything at the end, also after a signal. Prints what is left.
 * @returns the exit status for the caller: that of the script, or 1 if something is left
 */
export async function runApart({ name, script, args, keepLogs, logsOf }: Apart): Promise<number> {
  const atFirst = leftovers();
  // Not in /tmp: the specs write there, so that the namespaces have another (namespaces.ts).
  const folder = mkdtempSync(`/var/tmp/pc-${name}-`);
  // The root user of a pod with a user namespace must be able to pass through.
  chmodSync(folder, 0o711);
  const cgroup = makeCgroupRoot('cgroupfs', `portcullis-${name}-${process.pid}`);
  // A shell is the first process, because it removes processes that have ended and whose parents have ended.
  const inside = ['sh', '-c', '"$@"; exit $?', 'sh', process.execPath, script];
  const child = spawn(
    'sh',
    [
      ...['-c', 'until [ "$1" = -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift; exec "$@"', 'sh'],
      ...[...cgroup.folders, '--', 'setpriv', '--pdeathsig', 'KILL'],
      ...['unshare', '--mount', '--net', '--pid', '--ipc', '--cgroup', '--propagation', 'private'],
      ...['--fork', '--kill-child', '--mount-proc', ...inside, folder, ...args],
    ],
    // A signal of the terminal ends this process only, which ends the others.
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
      env: { ...process.env, TMPDIR: '/tmp' },
    },
  );
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      interrupted = true;
      child.kill('SIGKILL');
    });
  const [status] = (await once(child, 'exit')) as [number | null];

  if (keepLogs !== undefined) {
    mkdirSync(keepLogs, { recursive: true });
    for (const path of logsOf(folder)) cpSync(join(folder, path), join(keepLogs, path), { recursive: true });
  }
  await removeWhenEmpty(cgroup);
  rmSync(folder, { recursive: true, force: true });
  // Other runs on this machine have monitors as well.
  const left = (await lasting(atFirst)).filter(
    (line) => !line.startsWith('process') || line.includes(folder),
  );
  for (const one of left) console.log(`left behind: ${one}`);
  if (interrupted) return 130;
  return left.length > 0 ? 1 : (status ?? 1);
}

/** The processes of a PID namespace end a moment after its first process. */
async function removeWhenEmpty(cgroup: { remove(): void }): Promise<void> {
  for (let attempt = 0; ; attempt += 1)
    try {
      cgroup.remove();
      return;
    } catch (cause) {
      if (attempt > 100) throw cause;
      await pause(100);
    }
}
