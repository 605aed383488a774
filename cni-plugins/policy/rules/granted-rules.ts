import { append } from '../../../base/lists/index.ts';
import { constantIn, numberIn, verdictIn } from '../../../base/netlink/index.ts';
import type { ListedElement, ListedExpression } from '../../../base/netlink/index.ts';
import { bitsOf, formatIp, ipFromBytes } from '../../../base/addresses/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import type { LinkRule } from '../../types.ts';
import { portKey } from './conditions.ts';
import { everything } from './intervals.ts';
import type { Interval } from './intervals.ts';
import { listLayer, setOf } from './layer-listing.ts';
import type { ListedTable } from './layer-listing.ts';

/**
 * Reads from the kernel's listing what the rules of a pod's layer grant: the inverse of conditions.ts. Pure.
 */

/** Keys of `meta` and `ct`, and operators of `cmp` (linux/netfilter/nf_tables.h). */
const NFPROTO = 15;
const [CT_PROTOCOL, CT_PORT_FROM, CT_PORT_TO, CT_FROM4, CT_FROM6] = [10, 11, 12, 19, 21];
const [EQUAL, AT_MOST, AT_LEAST] = [0, 3, 5];
const protocols: ReadonlyMap<number, LinkRule['protocol']> = new Map([
  [1, 'icmp'],
  [58, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [132, 'sctp'],
]);
const highestPort = 65535;

/**
 * @param chain the first chain of the layer
 * @returns undefined when conditions.ts or layer-chains.ts does not make such a rule or chain
 */
export function grantedRules(chain: string, table: ListedTable): LinkRule[] | undefined {
  const { elements } = table;
  const layer = listLayer(chain, table);
  if (layer === undefined) return undefined;
  const granted: LinkRule[] = [];
  for (const rule of layer.rules) {
    const read = readRule(rule.expressions);
    if (read === undefined) return undefined;
    if (read === 'denies') continue;
    const { family, protocol, number, low, high, set, addresses } = read;
    if (number !== undefined && low === high && !layer.isReached(rule, portKey(number, low))) continue;
    const spoken = protocol === undefined ? [...new Set(protocols.values())] : [protocol];
    if (set !== undefined && hasPorts(set)) {
      for (const { cidr, port } of elements(set).map(({ key }) => addressAndPort(key, family)))
        append(
          granted,
          spoken.map((one) => ({ cidr, protocol: one, ports: { low: port, high: port } })),
        );
      continue;
    }
    const blocks =
      set === undefined
        ? blocksOf(addresses ?? everything(family), family)
        : isGroup(set)
          ? elements(set).map(({ key }) => `${formatIp(ipFromBytes(key))}/${bitsOf(family)}`)
          : intervalsIn(elements(set), family).flatMap((one) => blocksOf(one, family));
    append(
      granted,
      blocks.flatMap((cidr) => spoken.map((one) => ({ cidr, protocol: one, ports: { low, high } }))),
    );
  }
  return granted;
}

interface Condition {
  family: IpFamily;
  protocol?: LinkRule['protocol'];
  /** Number of the protocol. */
  number?: number;
  low: number;
  high: number;
  set?: string;
  /** The block of a rule for one block, which needs no set. */
  addresses?: Interval;
}

function readRule(expressions: readonly ListedExpression[]): Condition | 'denies' | undefined {
  const steps = expressions.filter(({ name }) => name !== 'counter');
  const last = steps.at(-1);
  const verdict = last === undefined ? undefined : verdictIn(last);
  if (verdict === 'drop') return 'denies';
  if (verdict === undefined || verdict === 'accept') return undefined;
  const found: Partial<Condition> & Pick<Condition, 'low' | 'high'> = { low: 0, high: highestPort };
  let loaded: number | undefined;
  for (const step of steps.slice(0, -1)) {
    if (step.name === 'meta' || step.name === 'ct') loaded = numberIn(step, 2);
    else if (step.name === 'lookup' && (numberIn(step, 5) ?? 0) === 0) found.set = setOf(step) ?? '';
    else if (step.name !== 'cmp' || !compare(found, loaded, step)) return undefined;
    if (step.name !== 'lookup') continue;
    const isOfPorts = hasPorts(found.set ?? '') && loaded === CT_PORT_FROM;
    if (loaded !== CT_FROM4 && loaded !== CT_FROM6 && !isOfPorts) return undefined;
  }
  return found.family === undefined ? undefined : { ...found, family: found.family };
}

function compare(found: Partial<Condition>, loaded: number | undefined, step: ListedExpression): boolean {
  const operator = numberIn(step, 2);
  const value = constantIn(step);
  if (loaded === NFPROTO && operator === EQUAL && found.family === undefined) {
    found.family = value[0] === 2 ? 4 : 6;
    return true;
  }
  if (loaded === CT_PROTOCOL && operator === EQUAL) {
    const protocol = protocols.get(value[0] ?? -1);
    if (protocol !== undefined) Object.assign(found, { protocol, number: value[0] });
    return protocol !== undefined;
  }
  if (operator !== EQUAL && operator !== AT_LEAST && operator !== AT_MOST) return false;
  if (loaded === CT_FROM4 || loaded === CT_FROM6) {
    const family = loaded === CT_FROM4 ? 4 : 6;
    if (found.family !== family || value.length !== bitsOf(family) / 8) return false;
    const { low, high } = found.addresses ?? everything(family);
    const address = ipFromBytes(value).value;
    found.addresses = {
      low: operator === AT_MOST ? low : address,
      high: operator === AT_LEAST ? high : address,
    };
    return true;
  }
  if ((loaded !== CT_PORT_FROM && loaded !== CT_PORT_TO) || value.length < 2) return false;
  const port = value.readUInt16BE(0);
  if (operator !== AT_MOST) found.low = port;
  if (operator !== AT_LEAST) found.high = port;
  return true;
}

/** Sets of peer-group.ts. */
const isGroup = (set: string): boolean => /^pods[46]_/u.test(set);
const hasPorts = (set: string): boolean => /^pods[46]_p_/u.test(set);

function addressAndPort(key: Buffer, family: IpFamily): { readonly cidr: string; readonly port: number } {
  const bytes = bitsOf(family) / 8;
  return {
    cidr: `${formatIp(ipFromBytes(key.subarray(0, bytes)))}/${bitsOf(family)}`,
    port: key.readUInt16BE(bytes),
  };
}

/**
 * Converts elements to intervals, both ends included. An interval without an end reaches the last address.
 */
function intervalsIn(elements: readonly ListedElement[], family: IpFamily): Interval[] {
  const points = elements
    .map(({ key, end }) => ({ value: ipFromBytes(key).value, end }))
    .sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : Number(b.end) - Number(a.end)));
  const last = (1n << BigInt(bitsOf(family))) - 1n;
  return points.flatMap(({ value, end }, at) => {
    const next = points[at + 1];
    return end ? [] : [{ low: value, high: next?.end === true ? next.value - 1n : last }];
  });
}

/** Returns the smallest number of blocks that cover an interval. */
function blocksOf({ low, high }: Interval, family: IpFamily): string[] {
  const blocks: string[] = [];
  for (let at = low; at <= high;) {
    let free = 0n;
    while (
      free < BigInt(bitsOf(family)) &&
      (at & (1n << free)) === 0n &&
      at + (1n << (free + 1n)) - 1n <= high
    )
      free += 1n;
    blocks.push(`${formatIp({ family, value: at })}/${bitsOf(family) - Number(free)}`);
    at += 1n << free;
  }
  return blocks;
}
