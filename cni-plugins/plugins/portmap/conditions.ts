import { formatIp, networkOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { append } from '../../../base/lists/index.ts';
import type { IpFamily } from '../../../base/addresses/index.ts';
import type { Fields } from '../../spec/fields.ts';
import { isInterfaceName } from '../../spec/interface-name.ts';
import type { Condition } from '../nat/guards.ts';

/**
 * `conditionsV4` and `conditionsV6` of portmap: the words of an iptables rule (`-s`, `-d`, `-i`, each perhaps
 * after `!`) or of an nft rule (`ip saddr`, `ip daddr`, `iifname`, with `==`, `!=` and sets). Other matches
 * are refused, because a host port must not be open to more clients than the configuration says. Pure.
 */

/** More words or values than any such rule has. */
const most = 64;

/** Reads the field. Every problem is added to the fields' problems. Absent and empty: no conditions. */
export function readConditions(config: Fields, name: string, family: IpFamily): readonly Condition[] {
  const words = config.texts(name).flatMap((text) => wordsOf(text));
  if (words.length === 0) return [];
  const refuse = (why: string): readonly Condition[] => {
    config.unsupported(name, why);
    return [];
  };
  if (words.length > most) return refuse(`there are more than ${most} words`);
  const found = /^[-!]/u.test(words[0] ?? '') ? fromIptables(words, family) : fromNft(words, family);
  return typeof found === 'string' ? refuse(found) : found;
}

/** Braces and commas are words of their own, as in nft. */
const wordsOf = (text: string): string[] => text.match(/[{},]|[^\s{},]+/gu) ?? [];

const options: ReadonlyMap<string, Condition['on']> = new Map([
  ...['-s', '--src', '--source'].map((name) => [name, 'source'] as const),
  ...['-d', '--dst', '--destination'].map((name) => [name, 'destination'] as const),
  ...['-i', '--in-interface'].map((name) => [name, 'interface'] as const),
]);

function fromIptables(words: readonly string[], family: IpFamily): readonly Condition[] | string {
  const conditions: Condition[] = [];
  const rest = [...words];
  while (rest.length > 0) {
    const isNegated = rest[0] === '!';
    if (isNegated) rest.shift();
    const [option = '', first] = rest.splice(0, 2);
    const on = options.get(option);
    if (on === undefined) return `only the matches -s, -d and -i are known, not ${JSON.stringify(option)}`;
    const values = first === undefined ? [] : [first];
    // A list of addresses after one option: iptables makes a rule of each.
    while (rest[0] === ',') append(values, rest.splice(0, 2).slice(1));
    const condition = conditionOf(on, isNegated, values, family);
    if (typeof condition === 'string') return condition;
    conditions.push(condition);
  }
  return conditions;
}

const nftFields: ReadonlyMap<string, Condition['on']> = new Map([
  ['ip saddr', 'source'],
  ['ip daddr', 'destination'],
  ['iifname', 'interface'],
]);

function fromNft(words: readonly string[], family: IpFamily): readonly Condition[] | string {
  const conditions: Condition[] = [];
  const rest = [...words];
  const protocol = family === 4 ? 'ip' : 'ip6';
  while (rest.length > 0) {
    const first = rest.shift() ?? '';
    const on = nftFields.get(first === protocol ? `ip ${rest.shift() ?? ''}` : first);
    if (on === undefined)
      return `only the matches ${protocol} saddr, ${protocol} daddr and iifname are known, not ${JSON.stringify(first)}`;
    const isNegated = rest[0] === '!=';
    if (isNegated || rest[0] === '==') rest.shift();
    const values = takeValues(rest);
    const condition = values === undefined ? 'a set has no end' : conditionOf(on, isNegated, values, family);
    if (typeof condition === 'string') return condition;
    conditions.push(condition);
  }
  return conditions;
}

/** Takes one value, or the values of a set in braces. */
function takeValues(rest: string[]): string[] | undefined {
  if (rest[0] !== '{') return rest.splice(0, 1);
  const end = rest.indexOf('}');
  if (end < 0) return undefined;
  return rest
    .splice(0, end + 1)
    .slice(1, -1)
    .filter((word) => word !== ',');
}

function conditionOf(
  on: Condition['on'],
  isNegated: boolean,
  given: readonly string[],
  family: IpFamily,
): Condition | string {
  if (given.length === 0) return `${on} has no value`;
  const values: string[] = [];
  for (const text of given) {
    const value = on === 'interface' ? interfaceIn(text) : prefixIn(text, family);
    if (value === undefined)
      return `${JSON.stringify(text)} is not ${on === 'interface' ? 'the name of an interface' : `an IPv${family} address or network`}`;
    values.push(value);
  }
  return { on, isNegated, values };
}

/** nft writes names in quotes. A wildcard, as in `veth+` and `veth*`, is not a name. */
function interfaceIn(text: string): string | undefined {
  const name = text.replace(/^"(.*)"$/u, '$1');
  return isInterfaceName(name) && !/[+*]$/u.test(name) ? name : undefined;
}

function prefixIn(text: string, family: IpFamily): string | undefined {
  const address = parseIp(text);
  const prefix = address === undefined ? parsePrefix(text) : { address, length: family === 4 ? 32 : 128 };
  return prefix === undefined || prefix.address.family !== family
    ? undefined
    : `${formatIp(networkOf(prefix))}/${prefix.length}`;
}
