import { UDATA_RULE_COMMENT } from './nftables.ts';
import { attributesOf, elementsOf, textOf } from '../protocol/wire.ts';
import type { Received } from '../protocol/wire.ts';

/** Reads the kernel's answers about sets and rules of nf_tables. Source: linux/netfilter/nf_tables.h. */

const nfgenmsgLength = 4;

/** Returns the keys in a message of `listElements`, with their counters. */
export function readElements(
  message: Received,
): { readonly key: Buffer; readonly packets: bigint; readonly bytes: bigint }[] {
  const list = attributesOf(message.body, nfgenmsgLength).get(3) ?? Buffer.alloc(0);
  return elementsOf(list).flatMap((element) => {
    const fields = attributesOf(element);
    const key = attributesOf(fields.get(1) ?? Buffer.alloc(0)).get(1);
    const counts = attributesOf(attributesOf(fields.get(7) ?? Buffer.alloc(0)).get(2) ?? Buffer.alloc(0));
    return key === undefined
      ? []
      : [
          {
            key,
            packets: counts.get(2)?.readBigUInt64BE() ?? 0n,
            bytes: counts.get(1)?.readBigUInt64BE() ?? 0n,
          },
        ];
  });
}

/** A rule's comment and counters. Undefined counts: the rule has no counter. */
export interface CountedRule {
  readonly chain: string;
  readonly comment: string;
  readonly packets?: bigint;
  readonly bytes?: bigint;
}

/** Reads a message of `listRules`. */
export function readRule(message: Received): CountedRule {
  const attributes = attributesOf(message.body, nfgenmsgLength);
  const chain = textOf(attributes.get(2));
  const userData = attributes.get(7);
  const comment =
    userData === undefined || userData.length < 2 || userData[0] !== UDATA_RULE_COMMENT
      ? ''
      : textOf(userData.subarray(2));
  for (const each of elementsOf(attributes.get(4) ?? Buffer.alloc(0))) {
    const expression = attributesOf(each);
    const data = expression.get(2);
    if (textOf(expression.get(1)) === 'counter' && data !== undefined) {
      const counts = attributesOf(data);
      return {
        chain,
        comment,
        packets: counts.get(2)?.readBigUInt64BE() ?? 0n,
        bytes: counts.get(1)?.readBigUInt64BE() ?? 0n,
      };
    }
  }
  return { chain, comment };
}
