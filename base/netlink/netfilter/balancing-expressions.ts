import { expression } from './expressions.ts';
import { attribute, be32, text } from '../protocol/wire.ts';

/** Expressions of nf_tables rules that draw, remember and refuse. Source: linux/netfilter/nf_tables.h. */

const NFT_NG_INCREMENTAL = 0;
const NFT_NG_RANDOM = 1;

/** Loads a number below `modulus`: the next one of the rule's own counter, or a random one. */
export function numbered(order: 'next' | 'random', modulus: number, to: number): Buffer {
  const type = order === 'next' ? NFT_NG_INCREMENTAL : NFT_NG_RANDOM;
  return expression('numgen', attribute(1, be32(to)), attribute(2, be32(modulus)), attribute(3, be32(type)));
}

/**
 * Hashes the bytes from a register on with Jenkins' hash, scaled to below `modulus` (`hash * modulus >> 32`).
 * The result is the same on every host.
 */
export function hashed(from: number, length: number, modulus: number, to: number): Buffer {
  const NFT_HASH_JENKINS = 0;
  const seed = 0;
  return expression(
    'hash',
    attribute(1, be32(from)),
    attribute(2, be32(to)),
    attribute(3, be32(length)),
    attribute(4, be32(modulus)),
    attribute(5, be32(seed)),
    attribute(7, be32(NFT_HASH_JENKINS)),
  );
}

const setOperations = { add: 0, refresh: 1, delete: 2 } as const;

/**
 * Puts the key (with its value, in a map) into a dynamic set for a time, or restarts the timeout of an
 * existing element (`refresh`; its value stays), or removes the key. The rule ends if the set is full.
 */
export function remember(
  operation: keyof typeof setOperations,
  set: string,
  {
    key,
    value,
    milliseconds,
  }: { readonly key: number; readonly value?: number; readonly milliseconds?: number },
): Buffer {
  const timeout = Buffer.alloc(8);
  timeout.writeBigUInt64BE(BigInt(milliseconds ?? 0));
  return expression(
    'dynset',
    attribute(1, text(set)),
    attribute(3, be32(setOperations[operation])),
    attribute(4, be32(key)),
    ...(value === undefined ? [] : [attribute(5, be32(value))]),
    ...(milliseconds === undefined ? [] : [attribute(6, timeout)]),
  );
}

const NFT_REJECT_ICMP_UNREACH = 0;
const NFT_REJECT_TCP_RST = 1;

/** Refuses a packet with a TCP reset. */
export function resetTcp(): Buffer {
  return expression('reject', attribute(1, be32(NFT_REJECT_TCP_RST)), attribute(2, Buffer.of(0)));
}

/** Port unreachable: code 3 of ICMP (RFC 792), 4 of ICMPv6 (RFC 4443, section 3.1). */
export function portUnreachable(family: 'ip' | 'ip6'): Buffer {
  return expression(
    'reject',
    attribute(1, be32(NFT_REJECT_ICMP_UNREACH)),
    attribute(2, Buffer.of(family === 'ip' ? 3 : 4)),
  );
}

const NFT_FIB_RESULT_OIF = 1;
const NFTA_FIB_F_DADDR = 2;
const NFTA_FIB_F_IIF = 8;
const NFTA_FIB_F_PRESENT = 32;

/**
 * Writes 1 or 0 into the register's first byte: whether the destination is routed back by the link that the
 * packet came in by. For hooks where packets are forwarded.
 */
export function goesBack(to: number): Buffer {
  return expression(
    'fib',
    attribute(1, be32(to)),
    attribute(2, be32(NFT_FIB_RESULT_OIF)),
    attribute(3, be32(NFTA_FIB_F_DADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT)),
  );
}
