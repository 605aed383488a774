import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Architecture } from '../deb/control.ts';

/** A package of Debian that images contain, as `debian-packages.json` records it. */
export interface LockedDeb {
  readonly name: string;
  readonly version: string;
  /** Digest of the .deb, in hexadecimal. */
  readonly sha256: string;
}

export interface DebianLock {
  readonly suite: string;
  readonly packages: Readonly<Record<Architecture, readonly LockedDeb[]>>;
}

/** The licence of each package as an SPDX expression (the copyright file is in the image). */
export const basePackages: Readonly<Record<string, string>> = {
  'base-files': 'GPL-2.0-or-later',
  'ca-certificates': 'MPL-2.0 AND GPL-2.0-or-later',
  // The copyright file of the three libraries of GCC.
  'gcc-12-base': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  libatomic1: 'GPL-3.0-or-later WITH GCC-exception-3.1',
  libc6: 'LGPL-2.1-or-later AND GPL-2.0-or-later',
  'libgcc-s1': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  'libstdc++6': 'GPL-3.0-or-later WITH GCC-exception-3.1',
};

const lockFile = join(import.meta.dirname, 'debian-packages.json');
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Returns the recorded versions and digests. */
export function debianLock(): DebianLock {
  return JSON.parse(readFileSync(lockFile, 'utf8')) as DebianLock;
}

/** A recorded package, and the path of its .deb. */
export interface FetchedDeb {
  readonly deb: LockedDeb;
  readonly file: string;
}

/** Returns the packages of the images, as {@link fetchLockedDebs} does. */
export function fetchDebs(architecture: Architecture): readonly FetchedDeb[] {
  const { suite, packages } = debianLock();
  return fetchLockedDebs(suite, architecture, packages[architecture]);
}

/**
 * Returns files of recorded packages: from the cache, else from Debian by apt. Their digests are compared
 * with the recorded ones each time.
 * @returns the path of each .deb, in the given order
 * @throws Error if Debian no longer serves a recorded version, or serves other bytes
 */
export function fetchLockedDebs(
  suite: string,
  architecture: Architecture,
  wanted: readonly LockedDeb[],
): readonly FetchedDeb[] {
  const cache = join(
    process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
    'portcullis/debian-packages',
  );
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  const at = ({ sha256 }: LockedDeb): string => join(cache, `${sha256}.deb`);
  const missing = wanted.filter((deb) => !existsSync(at(deb)) || sha256Of(at(deb)) !== deb.sha256);
  if (missing.length > 0)
    withApt(suite, architecture, (apt, folder) => {
      apt('download', ...missing.map(({ name, version }) => `${name}=${version}`));
      const got = readdirSync(folder).filter((name) => name.endsWith('.deb'));
      const byDigest = new Map(got.map((name) => [sha256Of(join(folder, name)), join(folder, name)]));
      for (const deb of missing) {
        const file = byDigest.get(deb.sha256);
        if (file === undefined)
          throw new Error(
            `Debian serves ${deb.name} ${deb.version} with other bytes than sha256:${deb.sha256}, which is recorded`,
          );
        // Written beside its place first: another build may read the cache.
        const partial = `${at(deb)}.${process.pid}`;
        writeFileSync(partial, readFileSync(file));
        renameSync(partial, at(deb));
      }
    });
  return wanted.map((deb) => ({ deb, file: at(deb) }));
}

/**
 * Returns the newest versions that Debian serves, for a new lock file, in the order of the names.
 * @throws Error if apt fails
 */
export function newestDebs(
  suite: string,
  architecture: Architecture,
  names: readonly string[],
): readonly LockedDeb[] {
  return withApt(suite, architecture, (apt, folder) => {
    apt('download', ...names);
    return readdirSync(folder)
      .filter((name) => name.endsWith('.deb'))
      .sort()
      .map((file) => {
        const [name = '', version = ''] = fieldsOf(join(folder, file), 'Package', 'Version');
        return { name, version, sha256: sha256Of(join(folder, file)) };
      });
  });
}

/** Returns fields of the control file of a .deb. @throws Error if dpkg-deb cannot read it */
export function fieldsOf(file: string, ...fields: readonly string[]): readonly string[] {
  return fields.map((field) => run('dpkg-deb', ['--field', file, field]).trim());
}

/** Returns the content of a .deb as a tar archive. @throws Error if dpkg-deb cannot read it */
export function contentOf(file: string): Buffer {
  const { status, stdout, stderr, error } = spawnSync('dpkg-deb', ['--fsys-tarfile', file], {
    maxBuffer: 512 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(`dpkg-deb cannot read ${file}: ${error?.message ?? stderr.toString()}`);
  return stdout;
}

/**
 * Runs apt with its own lists and settings, for any architecture. It verifies what it fetches by Debian's
 * keys. DEBIAN_MIRROR names another mirror, such as a date of snapshot.debian.org for an older release.
 */
function withApt<T>(
  suite: string,
  architecture: Architecture,
  use: (apt: (...words: readonly string[]) => void, folder: string) => T,
): T {
  const work = mkdtempSync(join(tmpdir(), 'pc-apt-'));
  try {
    const folders = ['state/lists/partial', 'cache/archives/partial', 'etc', 'got'];
    for (const folder of folders) mkdirSync(join(work, folder), { recursive: true });
    const mirror = process.env['DEBIAN_MIRROR'] ?? 'http://deb.debian.org';
    const row = (path: string): string => `deb [signed-by=${keyring}] ${mirror}/${path} main\n`;
    const sources = [row(`debian ${suite}`), row(`debian-security ${suite}-security`)];
    writeFileSync(join(work, 'etc/sources.list'), sources.join(''));
    const settings = {
      'Dir::Etc::sourcelist': join(work, 'etc/sources.list'),
      'Dir::Etc::sourceparts': '-',
      'Dir::State': join(work, 'state'),
      'Dir::State::status': '/dev/null',
      'Dir::Cache': join(work, 'cache'),
      'APT::Architecture': architecture,
      'APT::Architectures': architecture,
      // The folder belongs to this user, and not to the user _apt.
      'APT::Sandbox::User': 'root',
      'Acquire::Languages': 'none',
      'Acquire::Retries': '3',
    };
    const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    const apt = (...words: readonly string[]): void =>
      void run('apt-get', ['-q', ...options, ...words], join(work, 'got'));
    apt('update');
    return use(apt, join(work, 'got'));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function run(program: string, words: readonly string[], cwd?: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, words, {
    encoding: 'utf8',
    ...(cwd === undefined ? {} : { cwd }),
    env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', http_proxy: process.env['http_proxy'] },
  });
  if (status !== 0) throw new Error(`${program} failed: ${error?.message ?? stderr.trim()}`);
  return stdout;
}

function sha256Of(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

/** `sh packaging/node packaging/oci/debian-packages.ts`: records the newest versions. */
if (import.meta.main) {
  const { suite } = debianLock();
  const names = Object.keys(basePackages);
  const packages = { amd64: newestDebs(suite, 'amd64', names), arm64: newestDebs(suite, 'arm64', names) };
  writeFileSync(lockFile, `${JSON.stringify({ suite, packages }, null, 2)}\n`);
}
