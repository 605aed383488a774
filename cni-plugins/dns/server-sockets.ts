import { formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { HostNamespace } from './host-namespace.ts';
import type { Query } from './query.ts';
import { openPeerSockets } from './peer-sockets.ts';
import type { Hears, PeerSockets } from './peer-sockets.ts';
import { askByStream } from './stream-question.ts';

/** A question as it is sent to a server. */
export interface SentQuestion {
  readonly query: Buffer;
  readonly asked: Query;
  /** The asker uses TCP, so its answer may be long. */
  readonly byStream: boolean;
}

/**
 * The sockets to all name servers: UDP sockets that are used again, and one TCP connection for a question.
 */
export interface ServerSockets {
  /**
   * @returns a function that forgets the question
   * @throws if the question cannot be sent: no route, or an ICMP error that an earlier question caused
   */
  ask(server: IpAddress, question: SentQuestion, hears: Hears): () => void;
  /** Closes idle sockets. */
  rest(): void;
  close(): void;
}

/** @param port of the servers; other than 53 in tests only */
export function createServerSockets(place: HostNamespace, port = 53): ServerSockets {
  const peers = new Map<string, PeerSockets>();

  const peerOf = (server: IpAddress): PeerSockets => {
    const key = formatIp(server);
    const known = peers.get(key) ?? openPeerSockets(place, server, port);
    peers.set(key, known);
    return known;
  };

  return {
    ask: (server, question, hears) =>
      question.byStream
        ? askByStream(place, server, port, question.query, question.asked, hears)
        : peerOf(server).ask(question.query, question.asked, hears),
    rest() {
      for (const [key, peer] of peers) if (peer.rest()) peers.delete(key);
    },
    close() {
      peers.forEach((peer) => peer.close());
      peers.clear();
    },
  };
}
