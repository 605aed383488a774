import { attributesOf, textOf } from '../protocol/wire.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';

/** nf_tables: the base chains of every table of the namespace. Source: linux/netfilter/nf_tables.h. */

const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETCHAIN = 4;
const families: Readonly<Record<number, string>> = { 1: 'inet', 2: 'ip', 7: 'bridge', 10: 'ip6' };
const NF_INET_FORWARD = 2;
const NF_DROP = 0;

const list: Request = {
  what: 'list chains',
  on: '',
  type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN,
  body: Buffer.alloc(4),
};

/** Returns the IP base chains of the hook `forward` with the policy drop, as `family table chain`. */
export function droppingForwardChains(filter: NetlinkSocket): string[] {
  return filter.dump(list).flatMap(({ body }) => {
    const family = families[body.readUInt8(0)];
    const attributes = attributesOf(body, 4);
    const place = attributesOf(attributes.get(4) ?? Buffer.alloc(0))
      .get(1)
      ?.readUInt32BE(0);
    if (
      family === undefined ||
      family === 'bridge' ||
      place !== NF_INET_FORWARD ||
      attributes.get(5)?.readUInt32BE(0) !== NF_DROP
    )
      return [];
    return [`${family} ${textOf(attributes.get(1))} ${textOf(attributes.get(3))}`];
  });
}
