import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const cgroups = '/sys/fs/cgroup';
/** The test program starts the kubelet by systemd if it finds these programs. */
const hidden = ['systemd-run', 'journalctl'];

/**
 * Prepares the namespaces of this process as on a node.
 * @param folder an empty folder below it becomes /tmp
 * @param address the name server of the machine. Nobody listens there: a question is refused at once
 */
export function prepareNamespaces(folder: string, address: string): void {
  const run = (program: string, ...args: string[]): void => void execFileSync(program, args);
  mountCgroups(run);
  run('mount', '--make-rshared', '/');
  run('ip', 'link', 'set', 'lo', 'up');
  run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.route_localnet=1');
  // The kernel limits how often it says that nobody listens at a port. A resolver then waits for seconds.
  run('sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0');
  for (const name of hidden)
    for (const path of [`/usr/bin/${name}`, `/bin/${name}`])
      if (existsSync(path)) run('mount', '--bind', '/dev/null', path);
  const temporary = join(folder, 'tmp');
  mkdirSync(temporary);
  chmodSync(temporary, 0o1777);
  run('mount', '--bind', temporary, '/tmp');
  const resolver = join(folder, 'resolv.conf');
  writeFileSync(resolver, `nameserver ${address}\n`);
  run('mount', '--bind', resolver, '/etc/resolv.conf');
}

/** Mounts the cgroups again: their root is now the cgroup of this process (cgroup_namespaces(7)). */
function mountCgroups(run: (program: string, ...args: string[]) => void): void {
  if (existsSync(join(cgroups, 'cgroup.controllers'))) {
    run('umount', cgroups);
    run('mount', '-t', 'cgroup2', 'cgroup2', cgroups);
    return;
  }
  for (const name of readdirSync(cgroups)) {
    const path = join(cgroups, name);
    run('umount', path);
    if (name === 'unified') run('mount', '-t', 'cgroup2', 'cgroup2', path);
    else run('mount', '-t', 'cgroup', '-o', name === 'systemd' ? 'none,name=systemd' : name, 'cgroup', path);
  }
}
