import { createNamespaceLimits } from '../../../base/kubernetes/index.ts';
import type { Service } from '../model/model.ts';
import type { PackedService, PackedSlice } from './objects-as-text.ts';
import type { Translation } from './translate.ts';

/**
 * How much of a node a Service needs, in pairs of a port at an address and an endpoint, and the limits for
 * the Services of a namespace. Pure.
 */

/** Each pair takes up to 265 bytes of this process while it is delivered, and 75 bytes in the kernel. */
export const usualPairLimits = { ofNamespace: 1_048_576, ofAll: 4_194_304 } as const;
export type PairLimits = Parameters<typeof createNamespaceLimits>[0];

/** A smaller Service does not count: nearly all are smaller. */
const fewPairs = 64;
/**
 * The most of {@link weightOf} that is delivered at once: some 100,000 pairs at most, which take a second.
 * 200 usual Services weigh a tenth of it.
 */
const mostWeight = 131_072;

/** Returns an upper bound of the pairs that a Service may need, by the lengths of its texts. */
export function weightOf(service: PackedService, slices: Iterable<PackedSlice>): number {
  let characters = 0;
  for (const slice of slices) characters += slice.length;
  return (service.length / shortestPort) * (characters / shortestEndpoint);
}

/** Characters of the shortest port and of the shortest endpoint in a text. */
const [shortestPort, shortestEndpoint] = [50, 10];

/**
 * Returns the Services to deliver at once. A large one comes after all others and alone, so that its author
 * keeps no other Service waiting.
 * @param most Infinity: all of them
 */
export function portionOf(
  pending: Iterable<string>,
  most: number,
  weightAt: (key: string) => number,
): { readonly keys: readonly string[]; readonly hasLarge: boolean } {
  if (most === Infinity) return { keys: [...pending], hasLarge: false };
  const keys: string[] = [];
  let weight = 0;
  let large: string | undefined;
  for (const key of pending) {
    if (keys.length >= most) break;
    const own = weightAt(key);
    if (own > mostWeight) large ??= key;
    else if (weight + own > mostWeight) break;
    else {
      weight += own;
      keys.push(key);
    }
  }
  return keys.length > 0 || large === undefined
    ? { keys, hasLarge: false }
    : { keys: [large], hasLarge: true };
}

/** Returns the number of pairs of a port at an address and an endpoint. */
export const pairsOf = ({ services }: Translation): number =>
  services.reduce((sum, one) => sum + addressesOf(one) * one.ports.length * one.backends.length, 0);

const addressesOf = ({
  addresses,
  externalAddresses,
  loadBalancerAddresses = [],
  nodeAddresses,
  ports,
}: Service): number => {
  const hasNodePorts = ports.some(({ nodePort }) => nodePort !== undefined);
  const ofNode = hasNodePorts ? (nodeAddresses?.length ?? 2) : 0;
  return addresses.length + externalAddresses.length + loadBalancerAddresses.length + ofNode;
};

/** Translates Services within the limits of their namespaces. */
export interface LimitedTranslation {
  /**
   * Returns the Service for this node. Beyond the limits it has no services of ours, and a note says why.
   * @param onDropped called with each other Service that does not fit any more
   */
  translate(key: string, translated: () => Translation, onDropped: (key: string) => void): Translation;
  isBeyond(key: string): boolean;
  /** The Service changed: it may fit again. */
  changed(key: string): void;
  forget(key: string): void;
}

export function createLimitedTranslation(limits: PairLimits = usualPairLimits): LimitedTranslation {
  const pairs = createNamespaceLimits(limits);
  const beyond = new Set<string>();
  return {
    translate(key, translated, onDropped) {
      if (beyond.has(key)) return beyondLimits(key, limits);
      const found = translated();
      const size = pairsOf(found);
      for (const dropped of pairs.put(key, size > fewPairs ? size : undefined)) {
        beyond.add(dropped);
        if (dropped !== key) onDropped(dropped);
      }
      return beyond.has(key) ? beyondLimits(key, limits) : found;
    },
    isBeyond: (key) => beyond.has(key),
    changed: (key) => void beyond.delete(key),
    forget(key) {
      beyond.delete(key);
      pairs.put(key, undefined);
    },
  };
}

function beyondLimits(key: string, { ofNamespace, ofAll }: PairLimits): Translation {
  const namespace = key.slice(0, key.indexOf('/'));
  return {
    services: [],
    notes: [
      `the service is not served: the services of the namespace ${namespace} have more than ${ofNamespace} pairs of a port and an endpoint, or more than their share of the ${ofAll} of a node, and this one is among the largest; remove ports or services, and then write this service again`,
    ],
  };
}
