import type { CountedRule } from '../../../base/netlink/index.ts';
import { otherChain } from '../rules/layer-chains.ts';
import type { Direction } from '../rules/pod-chains.ts';
import type { Image } from './image.ts';

/** How many packets the rules of a pod denied. */
export interface DenialCount {
  readonly id: string;
  readonly direction: Direction;
  readonly rule: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

interface Denying {
  readonly id: string;
  readonly direction: Direction;
  readonly rule: string;
}

const directions = ['egress', 'ingress'] as const;
const tiers = ['admin', 'baseline'] as const;

/**
 * Reads the counters of rules that deny.
 * @param list lists the rules of chains of the judgement's table, as the kernel has them
 */
export function countsOf(
  image: Image,
  list: (chains: Iterable<string>) => readonly CountedRule[],
): DenialCount[] {
  const known = new Map<string, Denying>();
  for (const { id, hostInterface, rules: held } of image.values())
    for (const direction of directions) {
      const add = (layer: string, rule: string): void => {
        const chain = `${hostInterface}_${direction}_${layer}`;
        for (const name of [chain, otherChain(chain)]) known.set(name, { id, direction, rule });
      };
      const [profile, policies] = [held.profile[direction], held.policies[direction]];
      if (profile !== undefined) add('profile', profile.denies);
      if (profile !== undefined && direction === 'egress') add('untracked', profile.denies);
      if (policies !== undefined) add('policies', policies.denies);
      for (const tier of tiers) {
        const steps = held[tier]?.[direction]?.steps.filter(({ action }) => action === 'deny') ?? [];
        if (steps.length === 0) continue;
        // The rules of a tier are counted together, because the counter of a rule does not name the rule.
        const rule = [...new Set(steps.map(({ name }) => name))].join(', ').slice(0, longestRule);
        add(tier, rule);
        if (tier === 'admin') add('admin_host', rule);
      }
    }
  return list(known.keys()).flatMap(({ chain, packets, bytes }) => {
    const found = known.get(chain);
    if (found === undefined || packets === undefined || bytes === undefined || packets === 0n) return [];
    return [{ ...found, packets, bytes }];
  });
}

const longestRule = 256;
