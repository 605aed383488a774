import { formatIp } from '../spec/address.ts';
import type { IpAddress } from '../spec/address.ts';
import { headerBytes, isFailure } from './message.ts';
import type { Query } from './message.ts';
import { openPeerSockets } from './peer-sockets.ts';
import type { Hears, PeerSockets } from './peer-sockets.ts';
import type { HostNamespace } from './host-namespace.ts';
import { askByStream } from './stream-question.ts';
import { inOrder, isDown, scheduleFor } from './upstreams.ts';
import type { Health } from './upstreams.ts';

/**
 * Asks other name servers for names that we do not serve. Each question is separate: an A and an AAAA
 * question of one asker never wait for each other. Askers of the same question share one exchange. This also
 * ends a loop over other servers, because a question that comes back is already in progress.
 */
export interface Forwarder {
  /**
   * @param answered called with the server's message; undefined: no server could answer, or (`limited`) too
   * many questions are in progress
   */
  ask(question: ForwardedQuestion, answered: (answer: Buffer | undefined, limited?: 'limited') => void): void;
  /** Closes idle sockets. */
  rest(): void;
  close(): void;
}

export interface ForwardedQuestion {
  readonly query: Buffer;
  readonly asked: Query;
  /** The client for which the question is asked, to limit its questions in progress. */
  readonly asker: string;
  /** The asker uses TCP, so its answer may be long. */
  readonly byStream: boolean;
  readonly servers: readonly IpAddress[];
}

export interface ForwardLimits {
  /** The most questions in progress in total, and for one asker. */
  readonly most: number;
  readonly mostOfAsker: number;
  /** Port of the servers; other than 53 in tests only. */
  readonly port?: number;
}

export type ForwardOutcome = 'answered' | 'failed' | 'limited';

interface Waiter {
  readonly asker: string;
  readonly answered: (answer: Buffer | undefined) => void;
}

interface Exchange {
  readonly question: ForwardedQuestion;
  readonly servers: readonly IpAddress[];
  readonly began: number;
  readonly waiters: Waiter[];
  /** Each entry gives up one question to one server. */
  readonly giveUp: Set<() => void>;
  readonly timers: NodeJS.Timeout[];
  next: number;
  /** Servers that could not be reached, or reported a failure. */
  readonly refused: Set<string>;
  failure?: Buffer;
}

const mostStreams = 128;

export function createForwarder(
  place: HostNamespace,
  limits: ForwardLimits,
  tell: (outcome: ForwardOutcome, seconds: number) => void,
): Forwarder {
  const exchanges = new Map<string, Exchange>();
  const peers = new Map<string, PeerSockets>();
  const health = new Map<string, Health>();
  const ofAsker = new Map<string, number>();
  let waiting = 0;
  let streams = 0;
  const port = limits.port ?? 53;

  const count = (asker: string, change: 1 | -1): void => {
    waiting += change;
    const now = (ofAsker.get(asker) ?? 0) + change;
    if (now === 0) ofAsker.delete(asker);
    else ofAsker.set(asker, now);
  };

  const settle = (key: string, exchange: Exchange, answer: Buffer | undefined): void => {
    if (exchanges.get(key) !== exchange) return;
    exchanges.delete(key);
    exchange.timers.forEach(clearTimeout);
    for (const giveUp of [...exchange.giveUp]) giveUp();
    tell(answer === undefined ? 'failed' : 'answered', (performance.now() - exchange.began) / 1000);
    for (const { asker, answered } of exchange.waiters) {
      count(asker, -1);
      answered(answer);
    }
  };

  const failed = (server: string): void => {
    health.set(server, { failures: (health.get(server)?.failures ?? 0) + 1, failedAt: performance.now() });
  };

  const peerOf = (server: IpAddress): PeerSockets => {
    const key = formatIp(server);
    const known = peers.get(key) ?? openPeerSockets(place, server, port);
    peers.set(key, known);
    return known;
  };

  /** Asks the next server that may still answer, and starts again with the first after the last. */
  const askNext = (key: string, exchange: Exchange): void => {
    const able = exchange.servers.filter((each) => !exchange.refused.has(formatIp(each)));
    const server = able[exchange.next % able.length];
    if (server === undefined) return settle(key, exchange, exchange.failure);
    exchange.next += 1;
    const name = formatIp(server);
    let giveUp: (() => void) | undefined;
    let over = false;
    const end = (): void => {
      over = true;
      if (giveUp !== undefined) exchange.giveUp.delete(giveUp);
    };
    const refused = (message?: Buffer): void => {
      if (over) return;
      end();
      // A server that answers is healthy, whatever it says about the name.
      if (message === undefined) failed(name);
      else exchange.failure = message;
      exchange.refused.add(name);
      askNext(key, exchange);
    };
    const hears: Hears = {
      answer(message) {
        if (isFailure(message)) return refused(message);
        if (over) return;
        end();
        health.delete(name);
        settle(key, exchange, message);
      },
      failure: () => refused(),
    };
    try {
      const asked = exchange.question.byStream
        ? askStream(server, exchange, hears)
        : peerOf(server).ask(exchange.question.query, exchange.question.asked, hears);
      giveUp = () => {
        end();
        asked();
      };
      exchange.giveUp.add(giveUp);
    } catch {
      // Fails at once: no route, or an ICMP error that an earlier question caused.
      refused();
    }
  };

  const askStream = (server: IpAddress, { question }: Exchange, hears: Hears): (() => void) => {
    if (streams >= mostStreams) throw new Error('too many connections are under way');
    streams += 1;
    let held = true;
    const release = (): void => {
      if (held) streams -= 1;
      held = false;
    };
    try {
      const giveUp = askByStream(place, server, port, question.query, question.asked, {
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

  const begin = (key: string, question: ForwardedQuestion, waiter: Waiter): void => {
    const now = performance.now();
    const healthOf = (server: IpAddress): Health | undefined => health.get(formatIp(server));
    const servers = inOrder(question.servers, healthOf, now);
    const { askAgainMs, deadlineMs } = scheduleFor(servers.every((server) => isDown(healthOf(server), now)));
    const exchange: Exchange = {
      question,
      servers,
      began: now,
      waiters: [waiter],
      giveUp: new Set(),
      timers: [],
      next: 0,
      refused: new Set(),
    };
    exchanges.set(key, exchange);
    const again = question.byStream ? askAgainMs.slice(0, servers.length - 1) : askAgainMs;
    for (const ms of again) exchange.timers.push(setTimeout(() => askNext(key, exchange), ms));
    exchange.timers.push(
      setTimeout(() => {
        for (const server of servers.slice(0, exchange.next)) if (!exchange.refused.has(formatIp(server))) failed(formatIp(server));
        settle(key, exchange, exchange.failure);
      }, deadlineMs),
    );
    askNext(key, exchange);
  };

  return {
    ask(question, answered) {
      const { query, asked, asker, byStream, servers } = question;
      if (servers.length === 0) {
        tell('failed', 0);
        return answered(undefined);
      }
      if (waiting >= limits.most || (ofAsker.get(asker) ?? 0) >= limits.mostOfAsker) {
        tell('limited', 0);
        return answered(undefined, 'limited');
      }
      count(asker, 1);
      const text = query.toString('latin1', 2, headerBytes) + query.toString('latin1', headerBytes, asked.questionEnd).toLowerCase();
      const rest = query.toString('latin1', asked.questionEnd);
      const key = [byStream ? 't' : 'u', servers.map(formatIp).join(' '), text, rest].join('\0');
      const standing = exchanges.get(key);
      if (standing === undefined) begin(key, question, { asker, answered });
      else standing.waiters.push({ asker, answered });
    },
    rest() {
      for (const [key, peer] of peers) if (peer.rest()) peers.delete(key);
      const now = performance.now();
      for (const [server, each] of health) if (now - each.failedAt > 60_000) health.delete(server);
    },
    close() {
      for (const [key, exchange] of exchanges) settle(key, exchange, undefined);
      peers.forEach((peer) => peer.close());
      peers.clear();
    },
  };
}
