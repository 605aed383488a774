import { attributesOf } from './wire.ts';
import type { NetlinkSocket, Request } from './socket.ts';

/** nf_tables: the number of the namespace's rules, another one after each transaction. Source: linux/netfilter/nf_tables.h. */

const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETGEN = 16;

const ask: Request = {
  what: 'look up the generation of the rules',
  on: '',
  type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN,
  flags: 0,
  body: Buffer.alloc(4),
};

/** While it is the same, no table, chain, rule or element of the namespace has changed. */
export function generationOf(filter: NetlinkSocket): number {
  const answer = filter.find(ask);
  return answer === undefined ? -1 : (attributesOf(answer.body, 4).get(1)?.readUInt32BE(0) ?? -1);
}
