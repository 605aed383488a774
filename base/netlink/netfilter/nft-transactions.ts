import { isRefusal } from '../protocol/kernel-failure.ts';
import { attribute, attributesOf, be16, be32, u8 } from '../protocol/wire.ts';
import { acknowledged } from '../protocol/socket.ts';
import type { NetlinkSocket, Refusal, Request } from '../protocol/socket.ts';

/**
 * nf_tables: transactions, and the generation of the namespace's rules, which every transaction that
 * changes something increments.
 * Sources: linux/netfilter/nfnetlink.h, nf_tables.h.
 */

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFT_MSG_GETGEN = 16;
const NFNL_BATCH_GENID = 1;

const ask: Request = {
  what: 'look up the generation of the rules',
  on: '',
  type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN,
  body: Buffer.alloc(4),
};

/**
 * Returns the generation. While it is the same, no table, chain, rule or element of the namespace has
 * changed.
 */
export function generationOf(filter: NetlinkSocket): number {
  const answer = filter.find(ask);
  return answer === undefined ? -1 : (attributesOf(answer.body, 4).get(1)?.readUInt32BE(0) ?? -1);
}

/**
 * How often a socket changed rules: each change increments the generation by one. A transaction that finds
 * everything as it asks for changes nothing and increments nothing (net/netfilter/nf_tables_api.c,
 * nf_tables_commit). To count it would make the change of another program look like ours.
 */
const changes = new WeakMap<NetlinkSocket, number>();
/** Returns how often a socket has changed rules. */
export const changesBy = (socket: NetlinkSocket): number => changes.get(socket) ?? 0;

/**
 * The generation after the last transaction of a socket. The next transaction demands it of the kernel, which
 * costs less than to look it up first.
 */
const generations = new WeakMap<NetlinkSocket, number>();
/** After this many refusals, another program changes rules all the time. */
const mostRefusals = 8;

const mark = (what: string, type: number, attributes: Buffer): Request => ({
  what,
  on: 'nf_tables',
  type,
  body: Buffer.concat([u8(0), u8(0), be16(NFNL_SUBSYS_NFTABLES), attributes]),
});

/**
 * Runs all requests in one transaction, which succeeds or fails as a whole. Throws the first refusal.
 * @throws PortcullisError with the first refusal
 */
export function transact(socket: NetlinkSocket, requests: readonly Request[]): void {
  if (requests.length === 0) return;
  for (let refusals = 0; ; refusals += 1) {
    const before = generations.get(socket) ?? generationOf(socket);
    generations.delete(socket);
    const isDemanded = before > 0 && refusals < mostRefusals;
    const refusal = socket.send(batchOf(requests, isDemanded ? before : undefined))[0];
    // Another program changed rules since the generation was looked up. The kernel has done nothing.
    if (isDemanded && isOutdated(refusal)) continue;
    noteEnd(socket, before, refusal);
    return;
  }
}

/**
 * Runs all requests in one transaction, as {@link transact} does, but the kernel's part in another thread.
 * @returns a function that waits for the end of the transaction, and throws the first refusal. It must be
 * called once, before the socket is used for anything else
 */
export function transactAhead(socket: NetlinkSocket, requests: readonly Request[]): () => void {
  if (requests.length === 0) return () => undefined;
  const before = generations.get(socket) ?? generationOf(socket);
  generations.delete(socket);
  const ended = socket.sendAhead(batchOf(requests, before > 0 ? before : undefined));
  return () => {
    const refusal = ended()[0];
    if (before > 0 && isOutdated(refusal)) transact(socket, requests);
    else noteEnd(socket, before, refusal);
  };
}

/** @param generation that the rules must have; absent: any */
function batchOf(requests: readonly Request[], generation: number | undefined): Request[] {
  // One acknowledgement, for the last request, is enough: each refusal is reported anyway.
  const last = requests.length - 1;
  const demand = generation === undefined ? Buffer.alloc(0) : demanded(generation);
  return [
    mark('begin a transaction', NFNL_MSG_BATCH_BEGIN, demand),
    ...requests.map((entry, index) => (index === last ? acknowledged(entry) : entry)),
    mark('end a transaction', NFNL_MSG_BATCH_END, Buffer.alloc(0)),
  ];
}

const isOutdated = (refusal: Refusal | undefined): boolean =>
  refusal?.index === 0 && isRefusal(refusal.error, 'ERESTART');

function noteEnd(socket: NetlinkSocket, before: number, refusal: Refusal | undefined): void {
  if (refusal !== undefined) throw refusal.error;
  const after = generationOf(socket);
  if (after !== before) changes.set(socket, changesBy(socket) + 1);
  generations.set(socket, after);
}

/** Encodes the generation that the rules must have (nfnetlink.h, NFNL_BATCH_GENID). */
const demanded = (generation: number): Buffer => attribute(NFNL_BATCH_GENID, be32(generation));
