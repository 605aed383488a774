import type { Profile } from '../profile/model.ts';
import type { Remark } from './imported.ts';
import { optional, bad } from './kubernetes-fields.ts';
import type { Fields } from './kubernetes-fields.ts';

const SIZE: Readonly<Record<string, bigint>> = {
  '': 1n,
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  E: 10n ** 18n,
  Ki: 1n << 10n,
  Mi: 1n << 20n,
  Gi: 1n << 30n,
  Ti: 1n << 40n,
  Pi: 1n << 50n,
  Ei: 1n << 60n,
};

/** Reads Kubernetes quantities of `resources.limits`: memory in bytes, cpu in thousandths. */
export function readResources(resources: Fields, path: string, notes: Remark[]): Profile['resources'] {
  const limits = optional(resources, 'limits', `${path}.resources`);
  const found: { cpu?: bigint; memory?: bigint } = {};
  for (const [name, written] of Object.entries(limits)) {
    const part = `${path}.resources.limits.${name}`;
    if (
      name !== 'cpu' &&
      name !== 'memory' &&
      !/^(hugepages-\w+|ephemeral-storage|storage|pods|.*\/.*)$/.test(name)
    )
      throw bad(part, 'there is no such resource');
    if (name !== 'cpu' && name !== 'memory')
      notes.push({ part, why: 'it is for the scheduler, and not part of a profile' });
    else {
      const bound = quantity(written, part, name === 'cpu' ? 1000n : 1n);
      if (bound > 0n) found[name] = bound;
      else notes.push({ part, why: 'for a kubelet, 0 means no limit' });
    }
  }
  return found;
}

/**
 * Returns a quantity times `scale`, rounded down: a limit may be lower than requested, but never higher. Only
 * a quantity of 0 is 0: like a kubelet, a smaller one than the unit is rounded up.
 */
function quantity(value: unknown, part: string, scale: bigint): bigint {
  const written = ['string', 'number', 'bigint'].includes(typeof value) ? String(value) : 'this';
  const matched = /^(\d{1,18})(?:\.(\d{1,9}))?(m|k|[MGTPE]|[KMGTPE]i)?$/.exec(written);
  if (matched === null) throw bad(part, `${written} is not a quantity`);
  const [, whole = '', part_ = '', unit = ''] = matched;
  const [multiply, divide] = unit === 'm' ? [1n, 1000n] : [SIZE[unit] ?? 1n, 1n];
  const amount = BigInt(whole + part_);
  const found = (amount * multiply * scale) / (divide * 10n ** BigInt(part_.length));
  return found === 0n && amount > 0n ? 1n : found;
}
