import { createHash } from 'node:crypto';
import { serialize } from 'node:v8';
import { LRUCache } from 'lru-cache';
import { countVerifications, nameOfKey } from '../keys/remembered.ts';
import type { TrustedRoot } from './trusted-root.ts';
import { verifyBundle } from './verify.ts';
import type { NotVerified, Verified, VerifyInput } from './verify.ts';

interface Kept {
  readonly result: Verified | NotVerified;
  /** Time of the verification, in milliseconds since 1970. */
  readonly at: number;
}

/** A result has a few hundred bytes; the bundles themselves are not kept. */
const kept = new LRUCache<string, Kept>({ max: 4096 });
const names = new WeakMap<TrustedRoot, string>();
let rootCount = 0;

/**
 * Runs {@link verifyBundle} once for equal bundles, messages, keys, roots and thresholds, so that any number
 * of rules, namespaces and containers share one verification. As time passes, a proven time only moves out of
 * the future. A result is therefore valid from its own time on, until the trust in a log ends on which it
 * relies without a proven time. A result that failed because of time is not kept.
 */
export function verifyBundleOnce(input: VerifyInput): Verified | NotVerified {
  const key = keyOf(input);
  const before = key === undefined ? undefined : kept.get(key);
  const at = input.now.getTime();
  if (before !== undefined && before.at <= at && at <= endOf(before.result)) return before.result;
  countVerifications();
  const result = verifyBundle(input);
  if (key !== undefined && !('problem' in result && result.code === 'TRUST_SIGSTORE_TIME'))
    kept.set(key, { result, at });
  return result;
}

function endOf(result: Verified | NotVerified): number {
  return ('problem' in result ? undefined : result.trustedUntil) ?? Number.POSITIVE_INFINITY;
}

function keyOf({ bundle, message, key, root, thresholds }: VerifyInput): string | undefined {
  try {
    const content = createHash('sha256')
      .update(serialize([bundle, message, thresholds]))
      .digest('base64');
    return `${content} ${key === undefined ? '' : nameOfKey(key)} ${root === undefined ? '' : nameOfRoot(root)}`;
  } catch {
    // Input without a cache key is verified each time.
    return undefined;
  }
}

/**
 * Returns a name for a root. Roots are distinguished by object identity: equal ones are read once
 * (`policy-root.ts`).
 */
function nameOfRoot(root: TrustedRoot): string {
  let name = names.get(root);
  if (name === undefined) {
    rootCount += 1;
    name = `root-${rootCount}`;
    names.set(root, name);
  }
  return name;
}
