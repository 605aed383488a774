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
   * @throws if the question cannot be sent: no route, an ICMP error that an earlier question caused, or too
   * many connections
   */
  ask(server: IpAddress, question: SentQuestion, hears: Hears): () => void;
  /** Closes idle sockets. */
  rest(): void;
  close(): void;
}

const mostStreams = 128;

/** @param port of the servers; other than 53 in tests only */
export function createServerSockets(place: HostNamespace, port = 53): ServerSockets {
  const peers = new Map<string, PeerSockets>();
  let streams = 0;

  const peerOf = (server: IpAddress): PeerSockets => {
    const key = formatIp(server);
    const known = peers.get(key) ?? openPeerSockets(place, server, port);
    peers.set(key, known);
    return known;
  };

  const askStream = (server: IpAddress, { query, asked }: SentQuestion, hears: Hears): (() => void) => {
    if (streams >= mostStreams) throw new Error('too many connections are open');
    streams += 1;
    let held = true;
    const release = (): void => {
      if (held) streams -= 1;
      held = false;
    };
    try {
      const giveUp = askByStream(place, server, port, query, asked, {
        answer(message) {
          release();
          hears.answer(message);
        },
        failure(why) {
          release();
          hears.failure(why);
        },
      });
      return () => {
        release();
        giveUp();
      };
    } catch (thrown) {
      release();
      throw thrown;
    }
  };

  return {
    ask: (server, question, hears) =>
      question.byStream
        ? askStream(server, question, hears)
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
