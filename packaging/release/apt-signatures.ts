import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const key = 'apt/portcullis-archive-keyring.asc';
const release = 'apt/dists/stable/Release';
const inRelease = 'apt/dists/stable/InRelease';
const signature = 'apt/dists/stable/Release.gpg';

/** The files of a release that gpg writes. They differ from build to build, so `SHA256SUMS` lists none. */
export const gpgFiles: readonly string[] = [key, inRelease, signature];

/**
 * Verifies the signatures of the apt repository by the key beside them, as apt does. A repository without any
 * of the three files is not signed, and passes.
 * @param folder the folder of the release
 * @throws Error that names the file that is missing or not valid
 */
export function requireAptSignatures(folder: string): void {
  const missing = gpgFiles.filter((path) => !existsSync(join(folder, path)));
  if (missing.length === gpgFiles.length) return;
  if (missing.length > 0) throw new Error(`${missing.join(' and ')} is missing`);
  const home = mkdtempSync(join(tmpdir(), 'pc-apt-key-'));
  try {
    const gpg = (path: string, ...words: readonly string[]): string => {
      const options = ['--batch', '--no-autostart', '--homedir', home, '--trust-model', 'always'];
      const run = spawnSync('gpg', [...options, ...words], { encoding: 'utf8', maxBuffer: 2 ** 26 });
      if (run.status === 0) return run.stdout;
      throw new Error(`${path} is not valid: ${run.error?.message ?? run.stderr.trim()}`);
    };
    const at = (path: string): string => join(folder, path);
    gpg(key, '--import', at(key));
    gpg(signature, '--verify', at(signature), at(release));
    gpg(inRelease, '--output', join(home, 'text'), '--decrypt', at(inRelease));
    gpg(inRelease, '--verify', at(signature), join(home, 'text'));
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
