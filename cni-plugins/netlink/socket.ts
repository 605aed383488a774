import {
  AF_NETLINK,
  MSG_TRUNC,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_ROUTE,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_NETLINK,
  SOL_SOCKET,
  bindNetlink,
  closeFd,
  enter,
  receiveWaiting,
  send,
  sendApart,
  setSockOpt,
  socket,
} from '../../base/kernel/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
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

/** A message and what it is for. */
export interface Request extends Message, Attempt {}

/** For {@link NetlinkSocket.exchange}: the kernel says so when it has done it. */
export const acknowledged = (request: Request): Request => ({ ...request, flags: request.flags | NLM_F_ACK });

/** A refused request of a batch. */
export interface Refusal {
  readonly index: number;
  readonly error: PortcullisError;
}

/** What came back for one request of several. */
export interface Outcome {
  readonly answers: readonly Received[];
  /** Present when it was refused. */
  readonly refused?: { readonly errno: string; readonly error: () => PortcullisError };
}

/**
 * A synchronous netlink socket, for a Worker. The kernel handles a request inside sendmsg and queues every answer before it
 * returns, so nothing here waits. It acts in the network namespace in which it was opened, wherever it is used later.
 */
export interface NetlinkSocket {
  readonly fd: number;
  /** Sends all in one sendmsg. The kernel goes on after a refused one, except in an nf_tables batch. */
  send(requests: readonly Request[]): readonly Refusal[];
  /** As `send`, and throws the first refusal. */
  run(requests: readonly Request[]): void;
  /** One request with its answers. Throws when it is refused. */
  ask(request: Request): readonly Received[];
  /** As `ask`, for one answer; undefined when it is refused by one of these errnos. An error that nobody sees costs more than the request. */
  find(request: Request, ...absent: readonly string[]): Received | undefined;
  /** Within `body`, which changes nothing, `find` asks each question once. */
  askingOnce<T>(body: () => T): T;
  /** Requests of any kind in one sendmsg, each with what came back for it. No refusal is thrown. */
  exchange(requests: readonly Request[]): readonly Outcome[];
  /**
   * A request that the kernel answers only after it has waited, made in another thread. Resolves when it has answered, refused or not; meanwhile
   * this socket must be used for nothing else, and not be closed. Few at once: they wait in libuv's pool.
   */
  runApart(request: Request): Promise<void>;
  /** All of a kind, read again when the kernel says that the list changed underneath. */
  dump(request: Request): readonly Received[];
  /**
   * The first of a kind, as the kernel lists them; `whole`: there are no others. Where there are, nothing more can be asked of this socket: for lists that
   * somebody else may make as long as he likes.
   */
  first(request: Request, most: number): { readonly listed: readonly Received[]; readonly whole: boolean };
  close(): void;
}

const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const bufferBytes = 16 * 1024 * 1024;
/** Less than every kernel's default (net.core.wmem_default, rmem_default): an answer takes about a kilobyte of that. */
const [narrowBytes, narrowRequests] = [32 * 1024, 64];
const receiveBytes = 128 * 1024;
const dumpAttempts = 8;

/** Every exchange is over before the next one begins, whatever socket it is of: one buffer serves all of a thread. */
const buffer = Buffer.allocUnsafeSlow(receiveBytes);

/** @param protocol NETLINK_ROUTE or NETLINK_NETFILTER @param asksOnce always as within `askingOnce`: nothing is changed by this socket */
export function openNetlink(protocol: number, { asksOnce = false }: { readonly asksOnce?: boolean } = {}): NetlinkSocket {
  let found: Map<string, Received | undefined> | undefined = asksOnce ? new Map() : undefined;
  const fd = enter(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, protocol));
  let sequence = 1;
  try {
    bindNetlink(fd);
    setSockOpt(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    setSockOpt(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }

  let isWide = false;
  /** A rebuild of all rules is one sendmsg, and each of its messages may be answered; both are limits, not memory taken. A pod's own socket sends little. */
  const widen = (): void => {
    if (isWide) return;
    setSockOpt(fd, SOL_SOCKET, SO_SNDBUFFORCE, bufferBytes);
    setSockOpt(fd, SOL_SOCKET, SO_RCVBUFFORCE, bufferBytes);
    isWide = true;
  };

  const receive = (): Received[] => {
    const length = receiveWaiting(fd, buffer, MSG_TRUNC);
    if (length === undefined) return [];
    if (length > buffer.length) throw answerTooLong(length);
    // A copy: the buffer is used again while the caller still reads.
    return decodeMessages(Buffer.from(buffer.subarray(0, length)));
  };

  const exchange = (requests: readonly Request[], more: number): Outcome[] => {
    if (requests.length === 0) return [];
    const first = sequence;
    sequence = (sequence + requests.length) >>> 0 || 1;
    const bytes = encodeMessages(requests, first, NLM_F_REQUEST | more);
    if (bytes.length > narrowBytes || requests.length > narrowRequests) widen();
    send(fd, bytes);
    const answers: Received[][] = requests.map(() => []);
    const refused: Outcome['refused'][] = [];
    // Where it is known which message is the last one, nobody asks whether there are more: the question costs as much as an answer.
    let open = requests.every((request) => endOf(request, more, protocol) !== undefined) ? requests.length : Infinity;
    while (open > 0) {
      const batch = receive();
      if (batch.length === 0) break;
      for (const message of batch) {
        const index = message.sequence - first;
        const request = requests[index];
        if (request === undefined) continue; // an answer to an earlier exchange that ended by an exception
        if (message.type === NLMSG_ERROR || message.type === endOf(request, more, protocol)) open -= 1;
        if (message.type !== NLMSG_ERROR) answers[index]?.push(message);
        else {
          const { errno, text } = acknowledgementOf(message);
          if (errno !== 0) refused[index] = { errno: errnoOf(errno), error: () => kernelRefused(request, errno, text) };
        }
      }
    }
    return answers.map((own, index) => ({ answers: own, ...(refused[index] !== undefined && { refused: refused[index] }) }));
  };

  const ask = (request: Request): readonly Received[] => {
    const [outcome] = exchange([request], 0);
    if (outcome?.refused !== undefined) throw outcome.refused.error();
    return outcome?.answers ?? [];
  };

  const dumpOnce = (request: Request): Received[] | undefined => {
    const listed: Received[] = [];
    for (const message of ask({ ...request, flags: request.flags | NLM_F_DUMP })) {
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
    send: (requests) =>
      exchange(requests, 0).flatMap(({ refused }, index) => (refused === undefined ? [] : [{ index, error: refused.error() }])),
    run(requests) {
      const refused = exchange(requests, NLM_F_ACK).find((outcome) => outcome.refused !== undefined)?.refused;
      if (refused !== undefined) throw refused.error();
    },
    ask,
    find(request, ...absent) {
      const question = found === undefined ? '' : `${request.type} ${Buffer.from(request.body).toString('latin1')}`;
      if (found?.has(question) === true) return found.get(question);
      const [outcome] = exchange([request], 0);
      if (outcome?.refused !== undefined && !absent.includes(outcome.refused.errno)) throw outcome.refused.error();
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
      const bytes = encodeMessages([request], sequence, NLM_F_REQUEST | NLM_F_ACK);
      sequence = (sequence + 1) >>> 0 || 1;
      await sendApart(fd, bytes);
    },
    dump(request) {
      for (let attempt = 0; attempt < dumpAttempts; attempt += 1) {
        const listed = dumpOnce(request);
        if (listed !== undefined) return listed;
      }
      throw kernelRefused(request, 11, 'the list changed at every reading');
    },
    first(request, most) {
      const own = sequence;
      sequence = (sequence + 1) >>> 0 || 1;
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
    close: () => closeFd(fd),
  };
}

/** Type of the message after which no other answers the request; undefined: not known. Whatever is asked ends with a refusal. */
function endOf({ type, flags }: Request, more: number, protocol: number): number | undefined {
  if (((flags | more) & NLM_F_ACK) !== 0) return NLMSG_ERROR;
  // Of rtnetlink's four kinds of message (new, delete, get, set) a question that is no dump has one answer, a link's of the type NEWLINK.
  if (protocol !== NETLINK_ROUTE || (type - rtnetlinkBase) % 4 !== rtnetlinkGet) return undefined;
  return (flags & NLM_F_DUMP) === NLM_F_DUMP ? NLMSG_DONE : type - rtnetlinkGet;
}

const rtnetlinkBase = 16;
const rtnetlinkGet = 2;

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
