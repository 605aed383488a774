import { spawn, spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

/** The mount and network namespaces of another runtime. */
export interface Host {
  readonly pid: number;
  /** Runs a command. @throws Error with the command's output, unless it exits with 0 */
  run(command: readonly string[], environment?: Readonly<Record<string, string>>): string;
  end(): void;
}

/** @param folders the folders that each get their own empty file system */
export async function openHost(folders: readonly string[]): Promise<Host> {
  const holder = spawn('unshare', ['-m', '-n', '--propagation', 'private', 'sleep', 'infinity'], {
    stdio: 'ignore',
  });
  const pid = holder.pid ?? 0;
  const own = readlinkSync('/proc/self/ns/net');
  for (let waited = 0; linkOf(pid) === own; waited += 20) {
    if (waited > 10_000) throw new Error('the namespaces were not created');
    await pause(20);
  }
  const run: Host['run'] = (command, environment = {}) => {
    const { status, stdout, stderr } = spawnSync('nsenter', ['-t', String(pid), '-m', '-n', ...command], {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
      timeout: 120_000,
    });
    if (status !== 0) throw new Error(`${command.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  };
  run(['ip', 'link', 'set', 'lo', 'up']);
  run(['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  // crun refuses a host with both versions of cgroups.
  run(['sh', '-c', 'if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi']);
  for (const folder of folders) run(['sh', '-c', `mkdir -p ${folder} && mount -t tmpfs own ${folder}`]);
  return { pid, run, end: () => void holder.kill('SIGKILL') };
}

const linkOf = (pid: number): string => {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return '';
  }
};
