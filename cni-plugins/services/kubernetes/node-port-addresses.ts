import { networkInterfaces } from 'node:os';
import { canonicalIp, contains, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { wrongAddress } from '../description/short-forms.ts';
import { serviceLink } from '../model/model.ts';

/** At which addresses of this host node ports are served (kube-proxy's `nodePortAddresses`). */

/** The value that means the addresses of the Node object. */
export const primary = 'primary';

/**
 * @param asked `primary` alone, or prefixes
 * @param ofNode the addresses of the Node object
 * @param ofHost the addresses that the host has
 * @returns in a fixed order. Pure.
 */
export function nodePortAddresses(
  asked: readonly string[],
  ofNode: readonly string[],
  ofHost: readonly string[],
): readonly string[] {
  const prefixes = asked.flatMap((text) => parsePrefix(text) ?? []);
  const wanted = asked.includes(primary)
    ? ofNode
    : ofHost.filter((text) => {
        const address = parseIp(text);
        return (
          address !== undefined &&
          prefixes.some((each) => each.address.family === address.family && contains(each, address))
        );
      });
  const usable = wanted.filter((text) => wrongAddress(text, 'virtual') === undefined);
  return [...new Set(usable.flatMap((text) => canonicalIp(text) ?? []))].toSorted();
}

/** Returns the addresses of this host now. */
export const hostAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap((each = []) => each.map(({ address }) => address));

/**
 * Returns the addresses that this host has itself, without those at which it answers for services: IPVS has a
 * link for these.
 */
export const ownAddresses = (): readonly string[] =>
  Object.entries(networkInterfaces()).flatMap(([link, each = []]) =>
    link === 'lo' || link === serviceLink ? [] : each.map(({ address }) => address),
  );
