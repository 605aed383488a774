import { formatIp } from '../../base/addresses/index.ts';
import { meansShortage } from '../../base/errors/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { HostNamespace } from './host-namespace.ts';
import { headerBytes } from './message-format.ts';
import { inLowerCase, isFailure } from './forwarded-messages.ts';
import type { Hears } from './peer-sockets.ts';
import { createQuestionLimits } from './question-limits.ts';
import type { QuestionLimits } from './question-limits.ts';
import { createServerHealth } from './server-health.ts';
import { createServerProbes } from './server-probes.ts';
import { createServerSockets } from './server-sockets.ts';
import type { SentQuestion } from './server-sockets.ts';
import { inOrder, isDown, scheduleFor } from './upstreams.ts';

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

export interface ForwardedQuestion extends SentQuestion {
  /** The client for which the question is asked, to limit its questions in progress. */
  readonly asker: string;
  readonly servers: readonly IpAddress[];
}

export interface ForwardLimits {
  /** The most questions in progress in total, and for one asker. */
  readonly most: number;
  readonly mostOfAsker: number;
  /** Port of the servers; other than 53 in tests only. */
  readonly port?: number;
}

/** Limits of questions over TCP: each one holds a connection to every server that it waits for. */
const streamLimits = { most: 128, mostOfAsker: 32 };

export type ForwardOutcome = 'answered' | 'failed' | 'limited';

interface Waiter {
  readonly answered: (answer: Buffer | undefined, limited?: 'limited') => void;
  /** They report the end to the limits that count the question. */
  readonly ended: (() => void)[];
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

/** Opens no socket before the first question. @param report called once for each question */
export function createForwarder(
  place: HostNamespace,
  limits: ForwardLimits,
  report: (outcome: ForwardOutcome, seconds: number) => void,
): Forwarder {
  const { exchanges, settle, giveUp } = createExchanges(report);
  const sockets = createServerSockets(place, limits.port);
  const health = createServerHealth();
  const probes = createServerProbes(sockets, health);
  const questions = createQuestionLimits(limits);
  const streams = createQuestionLimits(streamLimits);
  const limitsOf = ({ byStream }: Pick<ForwardedQuestion, 'byStream'>): QuestionLimits[] =>
    byStream ? [questions, streams] : [questions];

  /** Servers need not answer over TCP. */
  const failed = (server: IpAddress, { question }: Exchange): void => {
    if (!question.byStream) health.failed(server);
  };

  /** Asks the next server that may still answer, and starts again with the first after the last. */
  const askNext = (key: string, exchange: Exchange): void => {
    const able = exchange.servers.filter((each) => !exchange.refused.has(formatIp(each)));
    const server = able[exchange.next % able.length];
    if (server === undefined) return settle(key, exchange, exchange.failure);
    exchange.next += 1;
    askServer(exchange, (hears) => sockets.ask(server, exchange.question, hears), {
      answered(message) {
        health.answered(server);
        settle(key, exchange, message);
      },
      refused(message, why) {
        // A server that answers is healthy, whatever it says about the name.
        if (message !== undefined) {
          health.answered(server);
          exchange.failure = message;
        } else if (why !== 'unsent') failed(server, exchange);
        exchange.refused.add(formatIp(server));
        askNext(key, exchange);
      },
    });
  };

  const begin = (key: string, question: ForwardedQuestion, waiter: Waiter): void => {
    const now = performance.now();
    const servers = inOrder(question.servers, health.of, now);
    const down = servers.filter((server) => isDown(health.of(server), now));
    const { askAgainMs, deadlineMs } = scheduleFor(down.length === servers.length);
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
    const probed = new Set<IpAddress>();
    const probe = (server: IpAddress): void => {
      if (question.byStream || probed.has(server) || exchange.refused.has(formatIp(server))) return;
      probed.add(server);
      probes.probe(server);
    };
    const goOn = (): void => {
      servers.slice(0, exchange.next).forEach(probe);
      askNext(key, exchange);
    };
    for (const ms of again) exchange.timers.push(setTimeout(goOn, ms));
    exchange.timers.push(setTimeout(() => settle(key, exchange, exchange.failure), deadlineMs));
    // A server that is down is asked last, and may never be asked: the probe notices its recovery.
    down.forEach(probe);
    askNext(key, exchange);
  };

  return {
    ask(question, answered) {
      const { asker } = question;
      if (question.servers.length === 0) {
        report('failed', 0);
        return answered(undefined);
      }
      if (limitsOf(question).some((each) => each.isReached(asker))) {
        report('limited', 0);
        return answered(undefined, 'limited');
      }
      const key = keyOf(question);
      const waiter: Waiter = { answered, ended: [] };
      for (const each of limitsOf(question)) waiter.ended.push(each.began(asker, () => giveUp(key, waiter)));
      const existing = exchanges.get(key);
      if (existing === undefined) begin(key, question, waiter);
      else existing.waiters.push(waiter);
    },
    rest() {
      sockets.rest();
      health.rest();
    },
    close() {
      for (const [key, exchange] of exchanges) settle(key, exchange, undefined);
      probes.close();
      sockets.close();
    },
  };
}

/** Creates the exchanges in progress by their keys, and what ends them. */
function createExchanges(report: (outcome: ForwardOutcome, seconds: number) => void) {
  const exchanges = new Map<string, Exchange>();
  const end = (key: string, exchange: Exchange, outcome: ForwardOutcome): void => {
    exchanges.delete(key);
    exchange.timers.forEach(clearTimeout);
    for (const giveUp of [...exchange.giveUp]) giveUp();
    report(outcome, (performance.now() - exchange.began) / 1000);
  };

  const settle = (key: string, exchange: Exchange, answer: Buffer | undefined): void => {
    if (exchanges.get(key) !== exchange) return;
    end(key, exchange, answer === undefined ? 'failed' : 'answered');
    for (const { ended, answered } of exchange.waiters) {
      for (const each of ended) each();
      answered(answer);
    }
  };

  /** Ends the question of one asker in favour of another asker's. */
  const giveUp = (key: string, waiter: Waiter): void => {
    const exchange = exchanges.get(key);
    if (exchange?.waiters.includes(waiter) !== true) return;
    exchange.waiters.splice(exchange.waiters.indexOf(waiter), 1);
    if (exchange.waiters.length === 0) end(key, exchange, 'limited');
    else report('limited', 0);
    for (const each of waiter.ended) each();
    waiter.answered(undefined, 'limited');
  };
  return { exchanges, settle, giveUp };
}

/** Returns a key that is equal for questions that may share one exchange: names are compared without case. */
function keyOf({ query, asked, byStream, servers }: ForwardedQuestion): string {
  const text =
    query.toString('latin1', 2, headerBytes) + inLowerCase(query, asked.questionEnd).toString('latin1');
  const rest = query.toString('latin1', asked.questionEnd);
  return [byStream ? 't' : 'u', servers.map(formatIp).join(' '), text, rest].join('\0');
}

interface Outcome {
  answered(message: Buffer): void;
  /**
   * @param message the failure that the server reported. Absent: it could not be reached
   * @param why `unsent`: this process has no descriptor or memory, which says nothing about the server
   */
  refused(message?: Buffer, why?: 'unsent'): void;
}

/** Asks one server. Only its first outcome counts, and none after the exchange gave up. */
function askServer(
  { giveUp: all }: Pick<Exchange, 'giveUp'>,
  send: (hears: Hears) => () => void,
  outcome: Outcome,
): void {
  let giveUp: (() => void) | undefined;
  let over = false;
  const end = (): void => {
    over = true;
    if (giveUp !== undefined) all.delete(giveUp);
  };
  const refused = (message?: Buffer, why?: 'unsent'): void => {
    if (over) return;
    end();
    outcome.refused(message, why);
  };
  const hears: Hears = {
    answer(message) {
      if (isFailure(message)) return refused(message);
      if (over) return;
      end();
      outcome.answered(message);
    },
    failure: () => refused(),
  };
  try {
    const forget = send(hears);
    giveUp = () => {
      end();
      forget();
    };
    all.add(giveUp);
  } catch (thrown) {
    // Fails at once: no route, an ICMP error that an earlier question caused, or no descriptor.
    refused(undefined, meansShortage(thrown) ? 'unsent' : undefined);
  }
}
