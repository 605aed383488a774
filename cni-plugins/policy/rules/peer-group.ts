import { createHash } from 'node:crypto';
import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import { be16, concatenated } from '../../../base/netlink/index.ts';
import type { Element, NamedSet } from '../../../base/netlink/index.ts';

/**
 * The pods that selectors of a policy choose: one set of nf_tables for each family, which all rules with
 * these selectors share. The members change while the rules stay. Pure.
 */
export interface PeerGroup {
  readonly key: string;
  /** Members are an address and a port that a pod's container names. Otherwise: addresses. */
  readonly withPorts: boolean;
  /** Canonical text, as {@link memberOf} writes it. Changes as pods come and go. */
  readonly members: ReadonlySet<string>;
  /**
   * Whether all members are known. A rule that denies by an incomplete group must deny everything. Changes
   * with the members.
   */
  readonly isComplete: boolean;
}

/** Writes a member. @param port for a group with ports */
export const memberOf = (address: string, port?: number): string =>
  port === undefined ? address : `${address} ${port}`;

/** Returns the set of a group. Its name depends on the group's key alone. */
export function groupSet(
  { key, withPorts }: Pick<PeerGroup, 'key' | 'withPorts'>,
  family: IpFamily,
): NamedSet {
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 22);
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  return {
    name: `pods${family}_${withPorts ? 'p' : 'a'}_${digest}`,
    key: withPorts ? [address, 'inet_service'] : [address],
  };
}

/** Returns those of the members that belong to the family, as elements of the group's set. */
export function memberElements(members: Iterable<string>, family: IpFamily): Element[] {
  const elements: Element[] = [];
  for (const member of members) {
    const space = member.indexOf(' ');
    const address = parseIp(space === -1 ? member : member.slice(0, space));
    if (address?.family !== family) continue;
    const key = ipBytes(address);
    elements.push({
      key: space === -1 ? key : concatenated(key, be16(Number(member.slice(space + 1)))),
    });
  }
  return elements;
}
