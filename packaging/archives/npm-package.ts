import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import type { PackageFile } from './files.ts';

export interface LockedPackage {
  readonly version: string;
  /** `sha512-BASE64` of the archive that the registry serves (Subresource Integrity). */
  readonly integrity: string;
  readonly license?: string;
}

/** Largest archive that is unpacked: the pinned Node has 60 MB. */
const maxBytes = 512 * 1024 * 1024;

/**
 * Returns the packages of package-lock.json by their path, such as `node_modules/koffi`.
 * @param root the folder of the lock file
 */
export function lockedPackages(root: string): Readonly<Record<string, LockedPackage>> {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockedPackage>>;
  };
  return lock.packages;
}

/**
 * Returns the files of a package as the registry serves them, also for a platform other than this machine's.
 * npm fetches the archive, or takes it from its cache.
 * @throws Error if npm cannot fetch it, or if it is not the one that the lock file pins
 */
export async function npmPackage(root: string, name: string): Promise<PackageFile[]> {
  const locked = lockedPackages(root)[`node_modules/${name}`];
  if (locked === undefined) throw new Error(`package-lock.json has no ${name}`);
  const folder = mkdtempSync(join(tmpdir(), 'pc-npm-package-'));
  try {
    const run = spawnSync(
      'npm',
      ['pack', '--silent', '--prefer-offline', '--pack-destination', folder, `${name}@${locked.version}`],
      { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const [file] = readdirSync(folder);
    if (run.status !== 0 || file === undefined)
      throw new Error(
        `npm cannot fetch ${name}@${locked.version}: ${run.error?.message ?? run.stderr.trim()}`,
      );
    const archive = readFileSync(join(folder, file));
    const integrity = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
    if (integrity !== locked.integrity)
      throw new Error(`${name}@${locked.version} is not what package-lock.json pins: it has ${integrity}`);
    return await unpacked(gunzipSync(archive, { maxOutputLength: maxBytes }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function unpacked(archive: Buffer): Promise<PackageFile[]> {
  const files: PackageFile[] = [];
  const reader = extract();
  Readable.from([archive]).pipe(reader);
  for await (const entry of reader) {
    const { name, type, mode } = entry.header;
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk);
    // The first folder has any name: npm drops it.
    const path = name.split('/').slice(1).join('/');
    if (type !== 'file') continue;
    if (path === '' || path.split('/').includes('..')) throw new Error(`the archive has a file ${name}`);
    files.push({ path, content: { bytes: Buffer.concat(chunks), executable: (mode & 0o111) !== 0 } });
  }
  return files;
}
