import { attribute, be32, nested, text, NLM_F_APPEND, NLM_F_CREATE } from '../protocol/wire.ts';
import type { Request } from '../protocol/socket.ts';

/**
 * nf_tables over nfnetlink: tables, chains and rules. Source: linux/netfilter/nf_tables.h. Sets and maps:
 * nft-sets.ts. Expressions: expressions.ts.
 */

const NFNL_SUBSYS_NFTABLES = 10;

const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_GETTABLE = 1;
const NFT_MSG_DELTABLE = 2;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_GETRULE = 7;
const NFT_MSG_DELRULE = 8;
export const NFT_MSG_NEWSET = 9;
export const NFT_MSG_DELSET = 11;
export const NFT_MSG_NEWSETELEM = 12;
export const NFT_MSG_GETSETELEM = 13;
export const NFT_MSG_DELSETELEM = 14;

export type Family = 'inet' | 'ip' | 'arp' | 'bridge' | 'ip6';
const familyNumbers: Readonly<Record<Family, number>> = { inet: 1, ip: 2, arp: 3, bridge: 7, ip6: 10 };

/** The effect of a verdict on the packet. */
export type Verdict = 'accept' | 'drop' | 'return' | { readonly goto: string } | { readonly jump: string };
const NF_DROP = 0;
const NF_ACCEPT = 1;
const NFT_JUMP = -3;
const NFT_GOTO = -4;
const NFT_RETURN = -5;

export interface Table {
  readonly family: Family;
  readonly name: string;
}

/** A base chain has a hook. A chain without a hook is only reached by jumps. The policy is accept. */
export interface Chain {
  readonly name: string;
  readonly hook?: { readonly type: 'filter' | 'nat'; readonly number: number; readonly priority: number };
}

/** Returns a request about an object of the table. */
export function request(
  what: string,
  table: Table,
  on: string,
  message: number,
  flags: number,
  ...attributes: readonly Uint8Array[]
): Request {
  const header = Buffer.of(familyNumbers[table.family], 0, 0, 0); // struct nfgenmsg
  return {
    what,
    on: `${table.family} ${table.name} ${on}`.trim(),
    type: (NFNL_SUBSYS_NFTABLES << 8) | message,
    flags,
    body: Buffer.concat([header, ...attributes]),
  };
}

/** Also succeeds if the table exists. */
export function addTable(table: Table): Request {
  return request('add the table', table, '', NFT_MSG_NEWTABLE, NLM_F_CREATE, attribute(1, text(table.name)));
}

/** Refused (ENOENT) if the table does not exist. */
export function getTable(table: Table): Request {
  return request('look up the table', table, '', NFT_MSG_GETTABLE, 0, attribute(1, text(table.name)));
}

/** Deletes the table with everything in it. */
export function deleteTable(table: Table): Request {
  return request('delete the table', table, '', NFT_MSG_DELTABLE, 0, attribute(1, text(table.name)));
}

/** Returns the request that adds a chain, unless the table has it. */
export function addChain(table: Table, chain: Chain): Request {
  const hook =
    chain.hook === undefined
      ? []
      : [
          attribute(7, text(chain.hook.type)),
          attribute(5, be32(NF_ACCEPT)),
          nested(4, attribute(1, be32(chain.hook.number)), attribute(2, be32(chain.hook.priority))),
        ];
  return request(
    'add the chain',
    table,
    chain.name,
    NFT_MSG_NEWCHAIN,
    NLM_F_CREATE,
    attribute(1, text(table.name)),
    attribute(3, text(chain.name)),
    ...hook,
  );
}

/** Returns NFTA_DATA_VERDICT of a verdict. */
export function verdictData(verdict: Verdict): Buffer {
  if (verdict === 'return') return nested(2, attribute(1, be32(NFT_RETURN)));
  if (verdict === 'accept' || verdict === 'drop')
    return nested(2, attribute(1, be32(verdict === 'accept' ? NF_ACCEPT : NF_DROP)));
  return 'goto' in verdict
    ? nested(2, attribute(1, be32(NFT_GOTO)), attribute(2, text(verdict.goto)))
    : nested(2, attribute(1, be32(NFT_JUMP)), attribute(2, text(verdict.jump)));
}

export const UDATA_RULE_COMMENT = 0;
const commentBytes = 128;

/**
 * Returns a comment as `nft list` shows it (libnftnl's udata: type, length, text), cut to nft's own limit.
 */
function commentData(comment: string): Buffer {
  const words = text(comment.slice(0, commentBytes - 1));
  return Buffer.concat([Buffer.of(UDATA_RULE_COMMENT, words.length), words]);
}

/**
 * Returns the request that appends a rule to a chain.
 * @param expressions encoded by expressions.ts
 */
export function addRule(
  table: Table,
  chain: string,
  expressions: readonly Uint8Array[],
  comment?: string,
): Request {
  return request(
    'add a rule to the chain',
    table,
    chain,
    NFT_MSG_NEWRULE,
    NLM_F_CREATE | NLM_F_APPEND,
    attribute(1, text(table.name)),
    attribute(2, text(chain)),
    nested(4, ...expressions),
    ...(comment === undefined ? [] : [attribute(7, commentData(comment))]),
  );
}

/** Removes all rules from the chain. */
export function flushChain(table: Table, chain: string): Request {
  return request(
    'flush the chain',
    table,
    chain,
    NFT_MSG_DELRULE,
    0,
    attribute(1, text(table.name)),
    attribute(2, text(chain)),
  );
}

/** Refused (ENOENT) if the chain does not exist. */
export function getChain(table: Table, chain: string): Request {
  return request(
    'look up the chain',
    table,
    chain,
    NFT_MSG_GETCHAIN,
    0,
    attribute(1, text(table.name)),
    attribute(3, text(chain)),
  );
}

/** Refused (EBUSY) while a rule or a map leads to the chain. */
export function deleteChain(table: Table, chain: string): Request {
  return request(
    'delete the chain',
    table,
    chain,
    NFT_MSG_DELCHAIN,
    0,
    attribute(1, text(table.name)),
    attribute(3, text(chain)),
  );
}

/**
 * For a dump: all rules of the table, or those of one chain; none if it is missing. Read by `readRule`. The
 * kernel passes all rules of the table again for each part of the answer: read a table with thousands of
 * rules by its chains.
 */
export function listRules(table: Table, chain?: string): Request {
  return request(
    'list the rules',
    table,
    chain ?? '',
    NFT_MSG_GETRULE,
    0,
    attribute(1, text(table.name)),
    ...(chain === undefined ? [] : [attribute(2, text(chain))]),
  );
}
