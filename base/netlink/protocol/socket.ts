import { constants } from 'node:os';
import {
  AF_NETLINK,
  bindNetlink,
  closeFd,
  enter,
  MSG_TRUNC,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_ROUTE,
  pollIn,
  prepareFd,
  receiveWaiting,
  send,
  sendApart,
  setSockOpt,
  SOCK_NONBLOCK,
  SOCK_RAW,
  socket,
  SOL_NETLINK,
  SOL_SOCKET,
} from '../../kernel/index.ts';
import { PortcullisError } from '../../errors/index.ts';
import { errnoOf, kernelRefused } from './kernel-failure.ts';
import type { Attempt } from './kernel-failure.ts';
import {
  NLMSG_DONE,
  NLMSG_ERROR,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  acknowledgementOf,
  decodeMessages,
  encodeMessages,
} from './wire.ts';
import type { Message, Received } from './wire.ts';

/** A message and its purpose. */
export interface Request extends Message, Attempt {}

/** For {@link NetlinkSocket.exchange}: the kernel acknowledges the request. */
export const acknowledged = (request: Request): Request => withFlag(request, NLM_F_ACK);

const withFlag = (request: Request, flag: number): Request => ({
  ...request,
  flags: (request.flags ?? 0) | flag,
});

/** A refused request of a batch. */
export interface Refusal {
  readonly index: number;
  readonly error: PortcullisError;
}

/** The result of one request of several. */
export interface Outcome {
  readonly answers: readonly Received[];
  /** Present if the request was refused. */
  readonly refused?: { readonly errno: string; readonly error: () => PortcullisError };
}

/**
 * A synchronous netlink socket, for a Worker. The kernel handles a request inside sendmsg and queues every
 * answer before it returns, so nothing here waits. The socket acts in the network namespace in which it was
 * opened, wherever it is used later.
 */
export interface NetlinkSocket {
  readonly fd: number;
  /**
   * Sends all requests in one sendmsg. The kernel continues after a refusal, except in an nf_tables batch.
   */
  send(requests: readonly Request[]): readonly Refusal[];
  /**
   * Like `send`, but the kernel handles the requests in another thread. At least one of them must have
   * NLM_F_ACK. Returns a function that waits for the answer. It must be called once, before this socket is
   * used for anything else. The refusals are those until the answer came.
   */
  sendAhead(requests: readonly Request[]): () => readonly Refusal[];
  /** Like `send`, but throws the first refusal. */
  run(requests: readonly Request[]): void;
  /** Sends one request and returns its answers. Throws a refusal. */
  ask(request: Request): readonly Received[];
  /**
   * Like `ask`, for one answer. Returns undefined if the kernel refuses with one of these errnos. Creating an
   * error that no caller reads would cost more than the request.
   */
  find(request: Request, ...absent: readonly string[]): Received | undefined;
  /** Within `body`, which changes nothing, `find` sends each request once. */
  askingOnce<T>(body: () => T): T;
  /** Sends requests of any type in one sendmsg, and returns the outcome of each. Throws no refusal. */
  exchange(requests: readonly Request[]): readonly Outcome[];
  /**
   * Runs a request in another thread, because the kernel answers it only after a wait. Resolves when the
   * kernel has answered, whether it refused or not. Meanwhile this socket must not be closed or used for
   * anything else. Run only a few at once: they wait in libuv's pool.
   */
  runApart(request: Request): Promise<void>;
  /** Lists all objects of a type, and reads again if the kernel says that the list changed meanwhile. */
  dump(request: Request): readonly Received[];
  /**
   * Lists the first objects of a type, in the kernel's order. `whole`: there are no others. If there are
   * others, this socket cannot be used any more. For lists that another program can make arbitrarily long.
   */
  first(request: Request, most: number): { readonly listed: readonly Received[]; readonly whole: boolean };
  close(): void;
}

const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
/**
 * The rules of a namespace's pods for its NetworkPolicies take up to some 450 MB (262,144 rules and ports in
 * each direction, in two families): the kernel refuses a longer message than the socket may hold.
 */
const sendLimit = 512 * 1024 * 1024;
const receiveLimit = 16 * 1024 * 1024;
/**
 * Less than every kernel's default (net.core.wmem_default, rmem_default): an answer takes about a kilobyte of
 * that.
 */
const [narrowBytes, narrowRequests] = [32 * 1024, 64];
const receiveBytes = 128 * 1024;
const dumpAttempts = 8;
/** The kernel handles a request within milliseconds, unless other programs change the same objects. */
const aheadMs = 10_000;

/**
 * Every exchange ends before the next one begins, on whichever socket, so one buffer serves a whole thread.
 */
const buffer = Buffer.allocUnsafeSlow(receiveBytes);

/**
 * Opens a netlink socket in the network namespace of the calling thread. `using` closes it.
 * @param protocol NETLINK_ROUTE or NETLINK_NETFILTER
 * @param asksOnce always behaves as within `askingOnce`: this socket changes nothing
 * @throws PortcullisError if the kernel refuses the socket or its options
 */
export function openNetlink(
  protocol: number,
  { asksOnce = false }: { readonly asksOnce?: boolean } = {},
): NetlinkSocket & Disposable {
  let found: Map<string, Received | undefined> | undefined = asksOnce ? new Map() : undefined;
  const fd = prepareFd(enter(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, protocol)), (opened) => {
    bindNetlink(opened);
    setSockOpt(opened, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    setSockOpt(opened, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  });
  const { exchange, exchangeAhead, receive, takeSequence, whenSent } = createExchange(fd, protocol);

  const ask = (request: Request): readonly Received[] => {
    const [outcome] = exchange([request], 0);
    if (outcome?.refused !== undefined) throw outcome.refused.error();
    return outcome?.answers ?? [];
  };

  const dumpOnce = (request: Request): Received[] | undefined => {
    const listed: Received[] = [];
    for (const message of ask(withFlag(request, NLM_F_DUMP))) {
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) return undefined;
      if (message.type !== NLMSG_DONE) {
        listed.push(message);
        continue;
      }
      const { errno, text } = acknowledgementOf(message);
      if (errno !== 0) throw kernelRefused(request, errno, text);
    }
    return listed;
  };

  return {
    fd,
    send: (requests) => refusalsOf(exchange(requests, 0)),
    sendAhead: (requests) => {
      const answered = exchangeAhead(requests);
      return () => refusalsOf(answered());
    },
    run(requests) {
      const refused = exchange(requests, NLM_F_ACK).find((outcome) => outcome.refused !== undefined)?.refused;
      if (refused !== undefined) throw refused.error();
    },
    ask,
    find(request, ...absent) {
      const question =
        found === undefined ? '' : `${request.type} ${Buffer.from(request.body).toString('latin1')}`;
      if (found?.has(question) === true) return found.get(question);
      const [outcome] = exchange([request], 0);
      if (outcome?.refused !== undefined && !absent.includes(outcome.refused.errno))
        throw outcome.refused.error();
      const answer = outcome?.refused === undefined ? outcome?.answers[0] : undefined;
      found?.set(question, answer);
      return answer;
    },
    askingOnce(body) {
      if (found !== undefined) return body();
      found = new Map();
      try {
        return body();
      } finally {
        found = undefined;
      }
    },
    exchange: (requests) => exchange(requests, 0),
    async runApart(request) {
      await sendApart(fd, encodeMessages([request], takeSequence(1), NLM_F_REQUEST | NLM_F_ACK));
    },
    dump(request) {
      for (let attempt = 0; attempt < dumpAttempts; attempt += 1) {
        const listed = dumpOnce(request);
        if (listed !== undefined) return listed;
      }
      throw kernelRefused(request, 11, 'the list changed during every read');
    },
    first(request, most) {
      const own = takeSequence(1);
      send(fd, encodeMessages([request], own, NLM_F_REQUEST | NLM_F_DUMP));
      const listed: Received[] = [];
      while (listed.length < most) {
        const batch = receive().filter((message) => message.sequence === own);
        const end = batch.find(({ type }) => type === NLMSG_DONE || type === NLMSG_ERROR);
        for (const message of batch) if (message !== end) listed.push(message);
        if (end === undefined && batch.length > 0) continue;
        const { errno, text } = end === undefined ? { errno: 0, text: undefined } : acknowledgementOf(end);
        if (errno !== 0) throw kernelRefused(request, errno, text);
        return { listed, whole: true };
      }
      return { listed, whole: false };
    },
    close() {
      const sent = whenSent();
      if (sent === undefined) closeFd(fd);
      // Another file could get the number before the other thread uses it.
      else void sent.then(() => closeFd(fd));
    },
    [Symbol.dispose]() {
      this.close();
    },
  };
}

const refusalsOf = (outcomes: readonly Outcome[]): readonly Refusal[] =>
  outcomes.flatMap(({ refused }, index) =>
    refused === undefined ? [] : [{ index, error: refused.error() }],
  );

/** Sends requests on a socket and receives their answers. */
interface Exchange {
  exchange(requests: readonly Request[], more: number): Outcome[];
  /** Sends requests in another thread. Returns a function that waits for the first answers. */
  exchangeAhead(requests: readonly Request[]): () => Outcome[];
  /** Resolves when the other thread does not use the descriptor any more. Undefined: it does not use it. */
  whenSent(): Promise<void> | undefined;
  /** Returns what the kernel has queued; empty if nothing. */
  receive(): Received[];
  /** Reserves the sequence numbers of this many messages, and returns the first. */
  takeSequence(count: number): number;
}

function createExchange(fd: number, protocol: number): Exchange {
  let sequence = 1;
  const takeSequence = (count: number): number => {
    const first = sequence;
    sequence = (sequence + count) >>> 0 || 1;
    return first;
  };

  let isWide = false;
  /**
   * A rebuild of all rules is one sendmsg, and each of its messages may be answered. Both sizes are limits
   * and not allocated memory. The socket of a pod sends little.
   */
  const widen = (): void => {
    if (isWide) return;
    setSockOpt(fd, SOL_SOCKET, SO_SNDBUFFORCE, sendLimit);
    setSockOpt(fd, SOL_SOCKET, SO_RCVBUFFORCE, receiveLimit);
    isWide = true;
  };

  const receive = (): Received[] => {
    const length = receiveWaiting(fd, buffer, MSG_TRUNC);
    if (length === undefined) return [];
    if (length > buffer.length) throw answerTooLong(length);
    // A copy, because the buffer is used again while the caller still reads.
    return decodeMessages(Buffer.from(buffer.subarray(0, length)));
  };

  /** Encodes requests, and makes room for them and their answers. */
  const encode = (requests: readonly Request[], first: number, more: number): Buffer => {
    const bytes = encodeMessages(requests, first, NLM_F_REQUEST | more);
    if (bytes.length > narrowBytes || requests.length > narrowRequests) widen();
    return bytes;
  };

  /** Sorts answers by their requests. */
  const collect = (requests: readonly Request[], first: number, more: number) => {
    const answers: Received[][] = requests.map(() => []);
    const refused: Outcome['refused'][] = [];
    // If the last message is known, there is no query for more: such a query costs as much as an answer.
    let open = requests.every((request) => endOf(request, more, protocol) !== undefined)
      ? requests.length
      : Infinity;
    let heard = 0;
    return {
      open: () => open,
      heard: () => heard,
      take(batch: readonly Received[]): void {
        for (const message of batch) {
          const index = message.sequence - first;
          const request = requests[index];
          if (request === undefined) continue; // an answer to an earlier exchange that ended by an exception
          heard += 1;
          if (message.type === NLMSG_ERROR || message.type === endOf(request, more, protocol)) open -= 1;
          if (message.type !== NLMSG_ERROR) answers[index]?.push(message);
          else {
            const { errno, text } = acknowledgementOf(message);
            if (errno !== 0)
              refused[index] = { errno: errnoOf(errno), error: () => kernelRefused(request, errno, text) };
          }
        }
      },
      outcomes: (): Outcome[] =>
        answers.map((own, index) => ({
          answers: own,
          ...(refused[index] !== undefined && { refused: refused[index] }),
        })),
    };
  };

  const exchange = (requests: readonly Request[], more: number): Outcome[] => {
    if (requests.length === 0) return [];
    const first = takeSequence(requests.length);
    send(fd, encode(requests, first, more));
    const collected = collect(requests, first, more);
    while (collected.open() > 0) {
      const batch = receive();
      if (batch.length === 0) break;
      collected.take(batch);
    }
    return collected.outcomes();
  };

  let sending: Promise<void> | undefined;
  const exchangeAhead = (requests: readonly Request[]): (() => Outcome[]) => {
    const first = takeSequence(requests.length);
    let isFailed = false;
    const own = sendApart(fd, encode(requests, first, 0))
      .then(
        (length) => void (isFailed = length === -1),
        () => void (isFailed = true),
      )
      .finally(() => {
        if (sending === own) sending = undefined;
      });
    sending = own;
    const collected = collect(requests, first, 0);
    return () => {
      for (;;) {
        const batch = receive();
        collected.take(batch);
        if (batch.length > 0) continue;
        if (collected.heard() > 0) return collected.outcomes();
        // The kernel answers before its part of the call ends.
        if (isFailed || !pollIn(fd, aheadMs)) throw notSent(requests[0]);
      }
    };
  };

  return { exchange, exchangeAhead, receive, takeSequence, whenSent: () => sending };
}

/**
 * Returns the type of the message that ends the answers to the request. Undefined: unknown. A refusal ends
 * every request.
 */
function endOf({ type, flags = 0 }: Request, more: number, protocol: number): number | undefined {
  if (((flags | more) & NLM_F_ACK) !== 0) return NLMSG_ERROR;
  // rtnetlink has four types of message (new, delete, get, set). A get request that is not a dump has one
  // answer, which for a link has the type NEWLINK.
  if (protocol !== NETLINK_ROUTE || (type - rtnetlinkBase) % 4 !== rtnetlinkGet) return undefined;
  return (flags & NLM_F_DUMP) === NLM_F_DUMP ? NLMSG_DONE : type - rtnetlinkGet;
}

const rtnetlinkBase = 16;
const rtnetlinkGet = 2;

function notSent(request: Attempt | undefined): PortcullisError {
  return kernelRefused(
    request ?? { what: 'send requests', on: 'netlink' },
    constants.errno.ENOBUFS,
    'no answer',
  );
}

function answerTooLong(length: number): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_ANSWER_TOO_LONG',
    kind: 'internal',
    attempted: 'read a netlink answer',
    on: `${length} bytes`,
    why: `it is longer than ${receiveBytes} bytes`,
    fix: 'report this with the kernel version',
  });
}
