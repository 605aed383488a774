import { formatIp, networkOf, parsePrefix, withoutLeadingZeros } from '../../../base/addresses/index.ts';
import type { IpFamily, IpPrefix } from '../../../base/addresses/index.ts';
import { intervalOf } from '../rules/intervals.ts';
import type { Interval } from '../rules/intervals.ts';

/** Blocks of addresses as Kubernetes' API accepts them. Pure. */

export interface Block {
  readonly family: IpFamily;
  readonly interval: Interval;
  /** In canonical form, without host bits. */
  readonly text: string;
}

/**
 * Parses a block as the API does, with Go's `ParseCIDRSloppy`: bits beyond the prefix are ignored
 * (10.0.0.5/24 is 10.0.0.0/24), numbers of IPv4 may begin with zeros and are decimal, IPv6 may end in IPv4,
 * and a block of ::ffff:0:0/96 is an IPv4 block. Returns undefined when it is not a block.
 */
export function blockOf(text: string): Block | undefined {
  if (text.length > longestText) return undefined;
  const prefix = prefixOf(text);
  if (prefix === undefined) return undefined;
  const four = ofMapped(prefix) ?? prefix;
  const canonical = `${formatIp(networkOf(four))}/${four.length}`;
  const found = intervalOf(canonical);
  return found && { ...found, text: canonical };
}

const longestText = 64;
const mappedPrefix = 0xffffn << 32n;
const [mappedBits, low32] = [96, 0xffffffffn];

function prefixOf(text: string): IpPrefix | undefined {
  const slash = text.lastIndexOf('/');
  const length = /^\d+$/u.test(text.slice(slash + 1)) ? Number(text.slice(slash + 1)) : undefined;
  if (slash === -1 || length === undefined) return undefined;
  return parsePrefix(`${withoutLeadingZeros(ofDottedEnd(text.slice(0, slash)))}/${length}`);
}

/** Converts `::ffff:10.0.0.0` to `::ffff:a00:0`. */
function ofDottedEnd(address: string): string {
  const [, head, dotted] = /^(.*:)(\d+(?:\.\d+){3})$/u.exec(address) ?? [];
  if (head === undefined || dotted === undefined) return address;
  const numbers = dotted.split('.').map(Number);
  if (numbers.some((each) => each > 255)) return address;
  const [a = 0, b = 0, c = 0, d = 0] = numbers;
  return `${head}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

function ofMapped({ address, length }: IpPrefix): IpPrefix | undefined {
  if (address.family !== 6 || length < mappedBits || address.value >> 32n !== mappedPrefix >> 32n)
    return undefined;
  return { address: { family: 4, value: address.value & low32 }, length: length - mappedBits };
}
