import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import type { Profile } from '../profile/model.ts';
import { policyText } from '../seccomp/policy.ts';
import type { Target } from './target.ts';

/** Returns sha256 over the canonical profile and the target: equal digests mean equal settings. */
export function settingsDigest(profile: Profile, target: Target): string {
  const hash = hashOf(profile);
  hash.update(JSON.stringify(sorted(target)));
  return `sha256:${hash.digest('hex')}`;
}

/** Returns sha256 over the canonical profile: equal digests mean equal profiles. */
export function profileDigest(profile: Profile): string {
  return `sha256:${hashOf(profile).digest('hex')}`;
}

function hashOf({ syscalls, ...rest }: Profile): Hash {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(sorted(rest)));
  hash.update('\0');
  hash.update(policyText(syscalls));
  hash.update('\0');
  return hash;
}

/** Returns the value with sorted keys, and bigints as texts. */
function sorted(value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}
