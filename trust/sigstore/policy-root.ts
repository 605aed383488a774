import { LRUCache } from 'lru-cache';
import type { PolicyRoot } from '../requirements/types.ts';
import { readTrustedRoot } from './trusted-root.ts';
import type { TrustedRoot } from './trusted-root.ts';

const read = new WeakMap<PolicyRoot, TrustedRoot>();
/** Many rules name the same root, and verifications are shared by root. */
const byContent = new LRUCache<string, TrustedRoot>({ max: 16 });

/**
 * Returns the trusted root of a policy, read once.
 * @throws Error when it cannot be read; loading a policy has already checked it
 */
export function trustedRootOf(root: PolicyRoot): TrustedRoot {
  let trusted = read.get(root);
  if (trusted === undefined) {
    trusted = byContent.get(root.content) ?? readTrustedRoot(Buffer.from(root.content, 'base64'));
    byContent.set(root.content, trusted);
    read.set(root, trusted);
  }
  return trusted;
}
