import { entitlementsError } from '../errors.ts';
import type { NetworkProtocol, NetworkRule } from '../types.ts';
import { blockWithin, formatAddress, parseCidr, uncovered } from '../profile/cidr.ts';
import type { Block } from '../profile/cidr.ts';

/** Absent: all peers. */
type Rules = readonly NetworkRule[] | undefined;

/** A rule as a box: addresses times ports, for one protocol. */
interface Box {
  readonly rule: NetworkRule;
  readonly block: Block;
}

const PROTOCOLS: readonly NetworkProtocol[] = ['icmp', 'sctp', 'tcp', 'udp'];
const EVERYTHING: readonly NetworkRule[] = ['0.0.0.0/0', '::/0'].flatMap((cidr) =>
  PROTOCOLS.map((protocol) => ({ cidr, protocol, ports: { low: 0, high: 65535 } })),
);
const MAX_RULES = 4096;

/** Returns what both allow. @throws ENTITLEMENTS_TOO_COMPLEX above 4096 rules */
export function meetNetworkRules(a: Rules, b: Rules): Rules {
  if (a === undefined || b === undefined) return a ?? b;
  if (a === b) return a;
  const [ours, theirs] = [a.map(boxOf), b.map(boxOf)];
  return networkRules(ours.flatMap((one) => theirs.flatMap((other) => meetBoxes(one, other) ?? [])));
}

function meetBoxes(a: Box, b: Box): Box | undefined {
  const inner = blockWithin(a.block, b.block) ? a : blockWithin(b.block, a.block) ? b : undefined;
  if (inner === undefined || a.rule.protocol !== b.rule.protocol) return undefined;
  const [x, y] = [a.rule.ports, b.rule.ports];
  const ports = { low: Math.max(x.low, y.low), high: Math.min(x.high, y.high) };
  return ports.low > ports.high ? undefined : { block: inner.block, rule: { ...inner.rule, ports } };
}

/** Returns what either allows. @throws ENTITLEMENTS_TOO_COMPLEX */
export function joinNetworkRules(a: Rules, b: Rules): Rules {
  if (a === undefined || b === undefined) return undefined;
  return a === b ? a : networkRules([...a, ...b].map(boxOf));
}

/** Returns sorted rules: none within another, and adjacent ports of one block joined. */
function networkRules(boxes: readonly Box[]): NetworkRule[] {
  const groups = new Map<string, Box[]>();
  for (const box of boxes) {
    const key = `${box.rule.protocol} ${box.rule.cidr}`;
    groups.set(key, [...(groups.get(key) ?? []), box]);
  }
  const merged = [...groups.values()].flatMap(mergePorts);
  if (merged.length > MAX_RULES) throw tooComplex();
  return merged
    .filter((box) => !merged.some((other) => other !== box && boxWithin(box, other)))
    .map(({ rule }) => rule)
    .sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
}

function mergePorts(group: readonly Box[]): Box[] {
  const merged: Box[] = [];
  for (const box of group.toSorted((a, b) => a.rule.ports.low - b.rule.ports.low)) {
    const last = merged.at(-1);
    if (last === undefined || box.rule.ports.low > last.rule.ports.high + 1) merged.push(box);
    else {
      const ports = { low: last.rule.ports.low, high: Math.max(last.rule.ports.high, box.rule.ports.high) };
      merged[merged.length - 1] = { ...last, rule: { ...last.rule, ports } };
    }
  }
  return merged;
}

function boxWithin(inner: Box, outer: Box): boolean {
  const [x, y] = [inner.rule.ports, outer.rule.ports];
  return (
    inner.rule.protocol === outer.rule.protocol &&
    y.low <= x.low &&
    x.high <= y.high &&
    blockWithin(inner.block, outer.block)
  );
}

function sortKey({ cidr, protocol, ports }: NetworkRule): string {
  return `${cidr} ${protocol} ${ports.low.toString().padStart(5, '0')}`;
}

/**
 * A peer and port that `inner` allows and `outer` does not, like `tcp to 10.1.2.3:5432` without the
 * direction.
 */
export interface NetworkExcess {
  readonly protocol: NetworkProtocol;
  readonly address: string;
  /** The form used in URLs: `10.1.2.3:5432`, `[2001:db8::1]:53`; for icmp the address alone. */
  readonly peer: string;
  readonly port: number;
}

/**
 * Exact: ports are split where a rule of `outer` begins or ends, and addresses are halved until all or none
 * are covered.
 */
export function networkExcess(outer: Rules, inner: Rules): NetworkExcess | undefined {
  if (outer === undefined || outer === inner) return undefined;
  const covers = outer.map(boxOf);
  for (const { rule, block } of (inner ?? EVERYTHING).map(boxOf)) {
    const { protocol, ports } = rule;
    const near = covers.filter(
      (cover) =>
        cover.rule.protocol === protocol &&
        (blockWithin(cover.block, block) || blockWithin(block, cover.block)),
    );
    const starts = new Set([
      ports.low,
      ...near.flatMap((cover) => [cover.rule.ports.low, cover.rule.ports.high + 1]),
    ]);
    for (const port of [...starts]
      .filter((start) => start >= ports.low && start <= ports.high)
      .sort((x, y) => x - y)) {
      const over = near
        .filter((cover) => cover.rule.ports.low <= port && port <= cover.rule.ports.high)
        .map((cover) => cover.block);
      const found = uncovered(block, over);
      if (found === undefined) continue;
      const address = formatAddress(block.family, found);
      const named = block.family === 6 && protocol !== 'icmp' ? `[${address}]` : address;
      return { protocol, address, port, peer: protocol === 'icmp' ? address : `${named}:${port}` };
    }
  }
  return undefined;
}

function boxOf(rule: NetworkRule): Box {
  const block = parseCidr(rule.cidr);
  const { low, high } = rule.ports;
  if (block !== undefined && low >= 0 && low <= high && high <= 65535) return { rule, block };
  throw entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read network rule',
    on: `${rule.cidr} ${rule.protocol} ${low}-${high}`,
    why:
      block === undefined
        ? 'it is not a CIDR block with its host bits zero'
        : 'its ports are not a range within 0 to 65535',
    fix: 'write it as 10.0.0.0/8 with ports 0 to 65535',
  });
}

function tooComplex(): Error {
  return entitlementsError('ENTITLEMENTS_TOO_COMPLEX', {
    kind: 'exhausted',
    attempted: 'combine network rules',
    on: '',
    why: `they divide into more than ${MAX_RULES} rules`,
    fix: 'use fewer or larger blocks',
  });
}
