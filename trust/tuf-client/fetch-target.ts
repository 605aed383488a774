import { tufFailure } from '../tuf/failure.ts';
import { verifyFile } from '../tuf/trusted-set.ts';
import { download } from './http-source.ts';
import { targetName } from './metadata-names.ts';
import type { FoundTarget } from '../tuf/search.ts';

/**
 * Downloads a target and checks it against the signed length and hashes (TUF specification 1.0.34, section
 * 5.7).
 * @param base address of the targets
 * @throws TRUST_TUF_MISSING · TRUST_TUF_WRONG_LENGTH · TRUST_TUF_WRONG_HASH, and the errors of the download
 */
export async function fetchTarget(base: string, target: FoundTarget, consistent: boolean): Promise<Buffer> {
  const on = `target ${JSON.stringify(target.path)}`;
  const hash = target.hashes['sha256'] ?? Object.values(target.hashes)[0] ?? '';
  const bytes = await download(
    `${base.replace(/\/+$/u, '')}/${targetName(target.path, hash, consistent)}`,
    target.length,
  );
  if (bytes === undefined) throw tufFailure('TRUST_TUF_MISSING', on, 'the server has no such file');
  verifyFile(on, bytes, target);
  return bytes;
}
