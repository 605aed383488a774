import { entitlementsError } from '../errors.ts';
import type { NetworkProtocol, NetworkRule } from '../types.ts';
import { blockAround, blockHalves, formatAddress, parseCidr } from '../profile/cidr.ts';
import type { Block } from '../profile/cidr.ts';

/** Absent: all peers. */
type Rules = readonly NetworkRule[] | undefined;
type Ports = NetworkRule['ports'];

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
/** The maximum number of overlaps of two lists, before those within others are removed. */
const MAX_OVERLAPS = 64 * MAX_RULES;

/**
 * Returns what both allow.
 * @throws PortcullisError ENTITLEMENTS_TOO_COMPLEX above 4096 rules
 */
export function meetNetworkRules(a: Rules, b: Rules): Rules {
  if (a === undefined || b === undefined) return a ?? b;
  if (a === b) return a;
  const [ours, theirs] = [indexOf(a.map(boxOf)), indexOf(b.map(boxOf))];
  const met: Box[] = [];
  for (const [inner, outer] of [
    [ours, theirs],
    [theirs, ours],
  ] as const) {
    for (const box of inner.boxes) {
      const { low, high } = box.rule.ports;
      for (const { ports } of around(box, outer).map(({ rule }) => rule)) {
        if (met.length === MAX_OVERLAPS) throw tooComplex();
        const both = { low: Math.max(low, ports.low), high: Math.min(high, ports.high) };
        met.push({ block: box.block, rule: { ...box.rule, ports: both } });
      }
    }
  }
  return networkRules(met);
}

/** Returns what either allows. @throws ENTITLEMENTS_TOO_COMPLEX */
export function joinNetworkRules(a: Rules, b: Rules): Rules {
  if (a === undefined || b === undefined) return undefined;
  return a === b ? a : networkRules([...a, ...b].map(boxOf));
}

/** Boxes by protocol and block. Those of one block are sorted by their ports and do not touch. */
interface Index {
  readonly boxes: readonly Box[];
  readonly byBlock: ReadonlyMap<string, readonly Box[]>;
  /** The lengths of the prefixes. */
  readonly prefixes: readonly number[];
}

function indexOf(boxes: readonly Box[]): Index {
  const groups = Map.groupBy(boxes, ({ rule, block }) => keyOf(rule.protocol, block));
  const byBlock = new Map([...groups].map(([key, group]) => [key, mergePorts(group)]));
  const prefixes = [...new Set(boxes.map(({ block }) => block.prefix))];
  return { boxes: [...byBlock.values()].flat(), byBlock, prefixes };
}

const keyOf = (protocol: NetworkProtocol, { family, address, prefix }: Block): string =>
  `${protocol} ${family} ${address} ${prefix}`;

/** Returns the keys of the indexed blocks that contain this box's block. */
function keysAround({ rule, block }: Box, { prefixes, byBlock }: Index): string[] {
  return prefixes
    .filter((prefix) => prefix <= block.prefix)
    .map((prefix) => keyOf(rule.protocol, blockAround(block, prefix)))
    .filter((key) => byBlock.has(key));
}

/** Returns the indexed boxes that share a port with this box, and whose blocks contain its block. */
function around(box: Box, index: Index): Box[] {
  return keysAround(box, index).flatMap((key) => sharing(index.byBlock.get(key) ?? [], box.rule.ports));
}

/** Returns those of the indexed boxes of one block that have one of these ports. */
function sharing(boxes: readonly Box[], { low, high }: Ports): readonly Box[] {
  let [from, to] = [0, boxes.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((boxes[middle]?.rule.ports.high ?? low) < low) from = middle + 1;
    else to = middle;
  }
  while ((boxes[to]?.rule.ports.low ?? Infinity) <= high) to += 1;
  return boxes.slice(from, to);
}

/** Returns sorted rules: none within another, and adjacent ports of one block joined. */
function networkRules(boxes: readonly Box[]): NetworkRule[] {
  const index = indexOf(boxes);
  if (index.boxes.length > MAX_RULES) throw tooComplex();
  return index.boxes
    .filter((box) => !around(box, index).some((other) => other !== box && portsWithin(box, other)))
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

function portsWithin(inner: Box, outer: Box): boolean {
  const [x, y] = [inner.rule.ports, outer.rule.ports];
  return y.low <= x.low && x.high <= y.high;
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

/** Exact: a block is halved while rules of `outer` about a part of it may cover the ports that are left. */
export function networkExcess(outer: Rules, inner: Rules): NetworkExcess | undefined {
  if (outer === undefined || outer === inner) return undefined;
  const [covers, granted] = [indexOf(outer.map(boxOf)), indexOf((inner ?? EVERYTHING).map(boxOf))];
  const inside = Map.groupBy(
    covers.boxes.flatMap((cover) => keysAround(cover, granted).map((key) => ({ key, cover }))),
    ({ key }) => key,
  );
  for (const [key, group] of granted.byBlock) {
    const [first] = group;
    if (first === undefined) continue;
    const { block, rule } = first;
    const left = keysAround(first, covers).reduce(
      (ports, cover) => portsLeft(ports, covers.byBlock.get(cover) ?? []),
      group.map((box): Ports => box.rule.ports) as readonly Ports[],
    );
    const found = uncovered(block, left, inside.get(key)?.map(({ cover }) => cover) ?? []);
    if (found === undefined) continue;
    const address = formatAddress(block.family, found.address);
    const named = block.family === 6 ? `[${address}]` : address;
    const { protocol } = rule;
    const peer = protocol === 'icmp' ? address : `${named}:${found.port}`;
    return { protocol, address, port: found.port, peer };
  }
  return undefined;
}

/** Returns an address and one of these ports that no cover, a box within the block, contains. */
function uncovered(
  block: Block,
  ports: readonly Ports[],
  covers: readonly Box[],
): { readonly address: bigint; readonly port: number } | undefined {
  const isWhole = (cover: Box): boolean => cover.block.prefix === block.prefix;
  const left = portsLeft(ports, covers.filter(isWhole));
  const [first] = left;
  if (first === undefined) return undefined;
  const parts = covers.filter((cover) => !isWhole(cover));
  if (parts.length === 0) return { address: block.address, port: first.low };
  const [lower, upper] = blockHalves(block);
  const isUpper = ({ block: { address } }: Box): boolean => address >= upper.address;
  return (
    uncovered(
      lower,
      left,
      parts.filter((part) => !isUpper(part)),
    ) ?? uncovered(upper, left, parts.filter(isUpper))
  );
}

/** Returns the ports, sorted, without those of the covers: the indexed boxes of one block. */
function portsLeft(ports: readonly Ports[], covers: readonly Box[]): readonly Ports[] {
  if (covers.length === 0) return ports;
  return ports.flatMap((range) => {
    const left: Ports[] = [];
    let next = range.low;
    for (const { low, high } of sharing(covers, range).map(({ rule }) => rule.ports)) {
      if (low > next) left.push({ low: next, high: low - 1 });
      next = high + 1;
    }
    if (next <= range.high) left.push({ low: next, high: range.high });
    return left;
  });
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
