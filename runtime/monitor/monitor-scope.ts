import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import { runsSystemd } from '../cgroups/cgroup-driver.ts';
import { runCommand } from '../processes/command.ts';

/** All monitors of the machine share this scope. It ends with the last monitor. */
const scope = 'portcullis-monitors.scope';
const slice = 'system.slice';
const busctl = '/usr/bin/busctl';
const manager = [
  'call',
  'org.freedesktop.systemd1',
  '/org/freedesktop/systemd1',
  'org.freedesktop.systemd1.Manager',
];

/** Moves a monitor out of the daemon's cgroup, in the background. */
export type AdoptMonitor = (pid: number) => void;

/**
 * Creates the function that moves monitors. A monitor starts in the daemon's cgroup. If that is a service of
 * systemd, stopping the service may kill every process in it, and with a monitor its container's exit code is
 * lost. There each monitor is moved to the scope of all monitors once its container is created. Elsewhere no
 * program ends the daemon by its cgroup, and nothing is done. A failed move is logged: the monitor then stays
 * where it is, which is safe in a unit with KillMode=process.
 * Source: org.freedesktop.systemd1(5), StartTransientUnit, AttachProcessesToUnit.
 * @param ownCgroups the text of /proc/self/cgroup
 */
export function openMonitorScope(parts: {
  readonly startProgram: StartProgram;
  readonly mounts: CgroupMounts;
  readonly log: Logger;
  readonly ownCgroups?: string;
}): AdoptMonitor {
  const { startProgram, mounts, log } = parts;
  if (!runsSystemd() || !isService(parts.ownCgroups ?? readFileSync('/proc/self/cgroup', 'utf8')))
    return () => undefined;
  const call = async (...args: string[]): Promise<void> => {
    const { exitCode, stderr } = await runCommand(startProgram, busctl, [...manager, ...args]);
    if (exitCode !== 0) throw new Error(stderr.trim());
  };
  const attach = (pid: number): Promise<void> =>
    // Version 2 has one folder, which systemd has delegated. In version 1 systemd itself knows which
    // hierarchies it uses.
    mounts.version === 2
      ? writeFile(join(mounts.roots[0] ?? '', slice, scope, 'cgroup.procs'), String(pid), { flag: 'r+' })
      : call('AttachProcessesToUnit', 'ssau', scope, '', '1', String(pid));
  const open = (pid: number): Promise<void> =>
    call(
      ...['StartTransientUnit', 'ssa(sv)a(sa(sv))', scope, 'fail'],
      ...['5', 'PIDs', 'au', '1', String(pid), 'Slice', 's', slice, 'Delegate', 'b', 'true'],
      ...[
        'CollectMode',
        's',
        'inactive-or-failed',
        'Description',
        's',
        'Monitors of Portcullis containers',
        '0',
      ],
    );
  const adopt = async (pid: number): Promise<void> => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await attach(pid).catch(() => open(pid));
      } catch (cause) {
        // The scope is just being opened or is just ending.
        if (attempt === 10) throw cause;
        await new Promise((resolve) => setTimeout(resolve, 20 * (attempt + 1)).unref());
      }
    }
  };
  let last: Promise<void> = Promise.resolve();
  return (pid) => {
    last = last
      .then(() => adopt(pid))
      .catch((cause: unknown) =>
        log.warn(
          { pid, cause: reasonOf(cause) },
          'a monitor could not be moved out of the cgroup of the daemon’s service',
        ),
      );
  };
}

/**
 * Reports whether the daemon's cgroup, as systemd knows it, is a service or lies in one (proc_pid_cgroup:
 * `ID:CONTROLLERS:PATH`).
 */
export function isService(ownCgroups: string): boolean {
  return ownCgroups.split('\n').some((line) => /^(0:|\d+:name=systemd):.*\.service(\/|$)/.test(line));
}
