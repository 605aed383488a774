import type { PolicyRoot } from '../types.ts';
import { readTrustedRoot } from './trusted-root.ts';
import type { TrustedRoot } from './trusted-root.ts';

const read = new WeakMap<PolicyRoot, TrustedRoot>();

/** The trusted root of a policy, read once. @throws Error when it can not be read; loading a policy has checked it */
export function trustedRootOf(root: PolicyRoot): TrustedRoot {
  let trusted = read.get(root);
  if (trusted === undefined) {
    trusted = readTrustedRoot(Buffer.from(root.content, 'base64'));
    read.set(root, trusted);
  }
  return trusted;
}
