import type { NamedPort } from '../../types.ts';
import { highestPort, peersOf } from '../rules/grants.ts';
import type { Peers } from '../rules/grants.ts';
import { union } from '../rules/intervals.ts';
import type { Peer } from './network-policy.ts';

/** Parts from which the grants of both kinds of policies are made. Pure. */

export type PeerBlock = Extract<Peer, { readonly cidr: string }>;

export const isBlock = (peer: Peer): peer is PeerBlock => 'cidr' in peer;

export const nobody: ReadonlySet<string> = new Set();

/** Blocks of rules. The same values are returned as long as the policy exists. */
const blocks = new WeakMap<object, Peers>();

export function blocksOf(rule: object, peers: readonly PeerBlock[]): Peers {
  const found = blocks.get(rule) ?? join(peers.map(({ cidr, except }) => peersOf([cidr], except)));
  blocks.set(rule, found);
  return found;
}

const join = (peers: readonly Peers[]): Peers => ({
  four: union(peers.flatMap(({ four }) => four)),
  six: union(peers.flatMap(({ six }) => six)),
});

export const single = (port: number): { low: number; high: number } => ({ low: port, high: port });

/** Returns the numbers that a pod gives to the name. */
export function portsCalled(
  { namedPorts }: { readonly namedPorts: readonly NamedPort[] },
  protocol: NamedPort['protocol'],
  name: string,
): number[] {
  const found = namedPorts.filter(
    (port) => port.name === name && port.protocol === protocol && port.port <= highestPort,
  );
  return [...new Set(found.map(({ port }) => port))];
}
