import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** Users that maintainer scripts would have created. */
const USERS = [
  'postgres',
  'redis',
  'mysql',
  'memcache',
  'mosquitto',
  'bind',
  'unbound',
  'sshd',
  'rabbitmq',
  'haproxy',
  'vcache',
  'ftp',
];

/** Packages that every Debian system has and no package depends on. */
const ESSENTIAL = [
  'base-files',
  'base-passwd',
  'bash',
  'coreutils',
  'dash',
  'debianutils',
  'grep',
  'hostname',
  'libc-bin',
  'login',
  'mawk',
  'netbase',
  'sed',
  'util-linux',
];

/** Debian's merged /usr: these are links (Debian policy, usrmerge). */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

/**
 * Creates a Debian root file system of these packages and all their dependencies, from the mirror that apt is
 * configured with. None of its programs or maintainer scripts runs: anything that a program needs besides its
 * files is part of its line in programs.ts.
 * @param folder gets the archives (kept, so that a second run downloads nothing) and `root`
 * @returns the root's path and the number of packages
 */
export function debianRoot(folder: string, packages: readonly string[]): { root: string; count: number } {
  const archives = join(folder, 'archives');
  const root = join(folder, 'root');
  mkdirSync(join(archives, 'partial'), { recursive: true });
  // An empty status: apt resolves as if nothing were installed.
  const status = join(folder, 'status');
  writeFileSync(status, '');
  const options = {
    'Dir::State::status': status,
    'Dir::Cache::archives': archives,
    'APT::Install-Recommends': 'false',
    'APT::Sandbox::User': 'root',
  };
  const flags = Object.entries({ ...options, 'Debug::NoLocking': '1' }).flatMap(([key, value]) => [
    '-o',
    `${key}=${value}`,
  ]);
  const install = (...more: string[]): string =>
    execFileSync('apt-get', [...flags, '-y', ...more, 'install', ...ESSENTIAL, ...packages], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      maxBuffer: 1 << 26,
    }).toString();
  install('-qq', '--download-only');
  const wanted = new Set(
    install('--print-uris', '--reinstall')
      .split('\n')
      .flatMap((line) => /^'\S+' (\S+\.deb)/.exec(line)?.[1] ?? []),
  );
  const files = readdirSync(archives).filter(
    (name) => name.endsWith('.deb') && (wanted.size === 0 || wanted.has(name)),
  );
  if (!existsSync(join(root, '.complete'))) {
    for (const name of MERGED) mkdirSync(join(root, 'usr', name), { recursive: true });
    for (const name of MERGED)
      if (!existsSync(join(root, name))) symlinkSync(`usr/${name}`, join(root, name));
    for (const name of files) {
      const unpack = 'dpkg-deb --fsys-tarfile "$1" | tar --keep-directory-symlink -C "$2" -xf -';
      execFileSync('sh', ['-c', unpack, 'sh', join(archives, name), root]);
    }
    configure(root);
    writeFileSync(join(root, '.complete'), '');
  }
  return { root, count: files.length };
}

function configure(root: string): void {
  const etc = join(root, 'etc');
  for (const name of ['passwd', 'group'])
    copyFileSync(join(root, `usr/share/base-passwd/${name}.master`), join(etc, name));
  USERS.forEach((name, at) => {
    appendFileSync(join(etc, 'passwd'), `${name}:x:${900 + at}:${900 + at}::/var/lib/${name}:/bin/sh\n`);
    appendFileSync(join(etc, 'group'), `${name}:x:${900 + at}:\n`);
  });
  if (!existsSync(join(root, 'var/run'))) symlinkSync('/run', join(root, 'var/run'));
  writeFileSync(join(etc, 'hosts'), '127.0.0.1 localhost\n::1 localhost\n');
  writeFileSync(join(etc, 'resolv.conf'), 'nameserver 127.0.0.1\n');
  for (const [link, to] of [
    ['usr/bin/awk', 'mawk'],
    ['usr/bin/sh', 'dash'],
    ['usr/bin/nc', 'nc.openbsd'],
  ] as const)
    if (!existsSync(join(root, link))) symlinkSync(to, join(root, link));
}
