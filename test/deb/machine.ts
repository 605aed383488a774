import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const cache = '/var/cache/portcullis/debian-root';
/** The keys that sign the archive of Ubuntu, from its package ubuntu-keyring. */
const ubuntuKeys = '/usr/share/keyrings/ubuntu-archive-keyring.gpg';

/** The releases for which the package is made, by their names in debootstrap. */
const releases: Record<string, { readonly title: string; readonly ubuntu: boolean }> = {
  bookworm: { title: 'Debian 12', ubuntu: false },
  trixie: { title: 'Debian 13', ubuntu: false },
  noble: { title: 'Ubuntu 24.04', ubuntu: true },
};
const releaseName = process.env['PORTCULLIS_DEB_RELEASE'] ?? 'bookworm';
/** The release that the machine has (`PORTCULLIS_DEB_RELEASE`). */
export const release = releases[releaseName] ?? {
  title: `the unknown release ${releaseName}`,
  ubuntu: false,
};
const base = join(cache, `${releaseName}-1.tar`);
/** The dependencies of the package: apt installs them in the machine, which has no network. */
const fetched = ['crun', 'conmon', 'libatomic1', 'procps', 'ca-certificates'];

function run(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' },
    maxBuffer: 64 * 1024 * 1024,
  });
  assert.equal(
    status,
    0,
    `${program} ${args.join(' ')}: ${error?.message ?? `${stdout}${stderr}`.slice(-2000)}`,
  );
  return stdout;
}

/** Returns why a clean machine cannot be booted here, or false. */
export function whyNoMachine(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  assert.ok(releaseName in releases, `PORTCULLIS_DEB_RELEASE is one of ${Object.keys(releases).join(', ')}`);
  if (release.ubuntu && !existsSync(ubuntuKeys))
    return `no ${ubuntuKeys}: it is in the package ubuntu-keyring of Ubuntu`;
  const lacks = ['debootstrap', 'systemd-nspawn', 'gpg', 'dpkg-deb'].filter(
    (name) => spawnSync(name, ['--version']).error !== undefined,
  );
  return lacks.length === 0
    ? false
    : `no ${lacks.join(', ')}: apt-get install debootstrap systemd-container gnupg`;
}

/** Makes the archive of the root file system: minimal, with systemd, and with the packages of `fetched`. */
function makeBase(): void {
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'making-'));
  try {
    const root = join(work, 'root');
    run(
      'debootstrap',
      ...['--variant=minbase', '--include=systemd,systemd-sysv,dbus'],
      ...(release.ubuntu ? [`--keyring=${ubuntuKeys}`, '--components=main,universe'] : []),
      ...[releaseName, root, mirror()],
      // Older versions of debootstrap do not know the name. All releases of Ubuntu use this script.
      ...(release.ubuntu ? ['gutsy'] : []),
    );
    // Proxies and checks of this machine, which the mirror may need.
    const settings = run('apt-config', 'dump')
      .split('\n')
      .filter((line) => /^Acquire::(?:https?::|Retries |Check-)/u.test(line));
    writeFileSync(join(root, 'etc/apt/apt.conf.d/90-acquire'), `${settings.join('\n')}\n`);
    run('cp', '/etc/resolv.conf', join(root, 'etc/resolv.conf'));
    for (const words of [
      ['clean'],
      ['update'],
      ['install', '-y', '--no-install-recommends', '--download-only', ...fetched],
    ])
      run('chroot', root, 'apt-get', '-q', ...words);
    run('tar', '-C', root, '--xattrs', '--numeric-owner', '-cf', join(work, 'root.tar'), '.');
    renameSync(join(work, 'root.tar'), base);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function mirror(): string {
  if (release.ubuntu) return 'http://archive.ubuntu.com/ubuntu';
  const sources = run('sh', '-c', 'cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true');
  return /^(?:deb |URIs: *)(?:\[[^\]]*\] )?(\S+)/mu.exec(sources)?.[1] ?? 'http://deb.debian.org/debian';
}

export interface Machine {
  /** The root file system, seen from outside. */
  readonly root: string;
  /** Runs a program inside, and returns its exit code and its output. */
  try(...words: readonly string[]): { readonly status: number | null; readonly output: string };
  /** Runs a program inside that must succeed, and returns its standard output. */
  run(...words: readonly string[]): string;
  stop(): Promise<void>;
}

/** Boots a clean machine: systemd as process 1, its own network without links, nothing of the host. */
export async function bootMachine(): Promise<Machine> {
  if (!existsSync(base)) makeBase();
  const folder = mkdtempSync(join(tmpdir(), 'pc-deb-'));
  const root = join(folder, 'root');
  mkdirSync(root);
  run('tar', '-C', root, '--xattrs', '--numeric-owner', '-xf', base);
  // The daemon needs permissions that a node has and a container does not: keys of the kernel, and all
  // capabilities.
  const nspawn = spawn(
    'systemd-nspawn',
    [
      ...['--quiet', '--register=no', '--keep-unit', '--private-network', '--capability=all'],
      ...['--system-call-filter=@keyring bpf @privileged', '--directory', root, '--boot'],
    ],
    { stdio: ['ignore', 'ignore', 'ignore'] },
  );
  const ended = new Promise<void>((resolve) => nspawn.once('exit', () => resolve()));
  const leader = async (): Promise<string> => {
    for (;;) {
      assert.equal(nspawn.exitCode, null, 'systemd-nspawn ended');
      const pid = spawnSync('pgrep', ['-P', String(nspawn.pid)], { encoding: 'utf8' }).stdout.trim();
      if (pid !== '' && existsSync(`/proc/${pid}/root/run/systemd/private`)) return pid;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const pid = await leader();
  const inside = (words: readonly string[]): SpawnSyncReturns<string> => enter(pid, words);
  const machine: Machine = {
    root,
    try(...words) {
      const { status, stdout, stderr } = inside(words);
      return { status, output: `${stdout}${stderr}` };
    },
    run(...words) {
      const { status, stdout, stderr } = inside(words);
      assert.equal(status, 0, `${words.join(' ')}: ${stdout}${stderr}`);
      return stdout;
    },
    async stop() {
      nspawn.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
  machine.try('systemctl', 'is-system-running', '--wait');
  // systemd-nspawn mounts these read-only. A node has them writable.
  machine.run(
    'sh',
    '-c',
    'mount -o remount,rw /sys; mount -o remount,rw,bind /proc/sys; for one in /sys/fs/cgroup/*; do mount -o remount,rw,bind "$one" 2>/dev/null; done; true',
  );
  return machine;
}

function enter(pid: string, words: readonly string[]): SpawnSyncReturns<string> {
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const environment = [path, 'HOME=/root', 'DEBIAN_FRONTEND=noninteractive', 'LC_ALL=C.UTF-8'];
  return spawnSync('nsenter', ['--target', pid, '--all', 'env', '-i', '-C', '/', ...environment, ...words], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
}

/** Returns every path of the machine's disk with its type and the hash or target of its content. */
export function snapshot(machine: Machine, ignored: RegExp): Map<string, string> {
  const listed = machine.run(
    'sh',
    '-c',
    "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \\) -prune -o -type f -exec sha256sum {} + ; find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \\) -prune -o ! -type f -printf '%y %p %l\\n'; find /run -printf 'run %y %p\\n'",
  );
  const entries = listed.split('\n').flatMap((line): [string, string][] => {
    const [kind = '', ...rest] = line.split(/ +/u);
    const path = kind === 'run' ? (rest[1] ?? '') : (rest[0] ?? '');
    return path === '' || ignored.test(path) ? [] : [[path, kind === 'run' ? (rest[0] ?? '') : line]];
  });
  return new Map(entries);
}

export function writeInside(machine: Machine, path: string, content: string | Uint8Array): void {
  mkdirSync(join(machine.root, path, '..'), { recursive: true });
  writeFileSync(join(machine.root, path), content);
}

export function readInside(machine: Machine, path: string): string {
  return readFileSync(join(machine.root, path), 'utf8');
}
