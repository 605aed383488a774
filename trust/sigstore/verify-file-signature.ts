import { createHash } from 'node:crypto';
import { keyObjectOf } from '../keys/public-key.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import type { PolicyKey } from '../requirements/types.ts';
import { readBundle } from './bundle.ts';
import type { Bundle } from './bundle.ts';
import { signaturesOnly, verifyBundle } from './verify.ts';

export interface VerifyFileSignatureInput {
  readonly file: Uint8Array;
  /** JSON of a sigstore bundle with a signature over the file itself, as `cosign sign-blob` writes it. */
  readonly bundle: Uint8Array;
  /** One of them must have signed. */
  readonly keys: readonly PolicyKey[];
  readonly now: Date;
}

/** The key that signed the file, or why the signature does not count. */
export type FileSignature =
  | { readonly verified: true; readonly key: PolicyKey }
  | { readonly verified: false; readonly why: string };

/**
 * Verifies the signature of a file by keys. Transparency logs and time stamps in the bundle are ignored.
 * Never throws for faults of the bundle.
 */
export async function verifyFileSignature({
  file,
  bundle,
  keys,
  now,
}: VerifyFileSignatureInput): Promise<FileSignature> {
  await loadPrehashed();
  let read: Bundle;
  try {
    read = readBundle(Buffer.from(bundle));
  } catch (error) {
    return { verified: false, why: `its signature cannot be read: ${(error as Error).message}` };
  }
  if (read.content.kind !== 'message')
    return { verified: false, why: 'its bundle signs a statement, and not the file itself' };
  const { digest } = read.content;
  const sha256 = createHash('sha256').update(file).digest('hex');
  if (digest !== undefined && digest.value.toString('hex') !== sha256)
    return { verified: false, why: 'its bundle names another digest' };
  const message = { bytes: file, digests: {} };
  const key = keys.find(
    (one) =>
      !(
        'problem' in
        verifyBundle({ bundle: read, message, key: keyObjectOf(one), thresholds: signaturesOnly, now })
      ),
  );
  if (key !== undefined) return { verified: true, key };
  return {
    verified: false,
    why: `no trusted key signed it (${keys.map(({ name }) => name).join(', ') || 'none is trusted'})`,
  };
}
