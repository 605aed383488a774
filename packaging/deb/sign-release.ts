import { spawnSync } from 'node:child_process';
import { textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';

/**
 * Returns the signatures of an apt repository, by gpg: `InRelease`, `Release.gpg`, and the public key for
 * `Signed-By:`. gpg-agent holds the secret key, so this process never sees it.
 * @param files the repository, with its file `Release`
 * @param key the id or the fingerprint of the key
 * @throws Error with the reason that gpg gives
 */
export function signRelease(files: readonly PackageFile[], key: string): PackageFile[] {
  const release = files.find(({ path }) => path.endsWith('/Release'));
  if (release === undefined || !('bytes' in release.content))
    throw new Error('the repository has no Release');
  const text = release.content.bytes;
  const folder = release.path.replace(/Release$/u, '');
  return [
    textFile(`${folder}InRelease`, gpg(['--local-user', key, '--clearsign'], text)),
    textFile(`${folder}Release.gpg`, gpg(['--local-user', key, '--armor', '--detach-sign'], text)),
    textFile('portcullis-archive-keyring.asc', gpg(['--armor', '--export', key])),
  ];
}

function gpg(args: readonly string[], input: Uint8Array = Buffer.alloc(0)): string {
  const run = spawnSync('gpg', ['--batch', '--digest-algo', 'SHA256', ...args], { input });
  if (run.status !== 0 || run.stdout.length === 0)
    throw new Error(`gpg cannot ${args.at(-1) ?? ''}: ${run.error?.message ?? run.stderr.toString().trim()}`);
  return run.stdout.toString();
}
