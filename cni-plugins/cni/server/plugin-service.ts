import type { Socket } from 'node:net';
import { createConnectionSlots } from '../../../base/connections/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import type { CallPlugin } from '../../calls/plugin-call.ts';
import { needsInput, readCall } from '../../spec/call.ts';
import type { RawCall } from '../../spec/call.ts';
import { answerCall, undoAdd } from './answer.ts';
import type { PluginAnswer } from './answer.ts';
import {
  greetingOf,
  headSize,
  lengthSize,
  maxHeld,
  readHead,
  readInputLength,
  readStrings,
  readWhole,
  versions,
  writeAnswer,
} from './frames.ts';
import { openPeer } from './peer.ts';
import type { Peer } from './peer.ts';
import { createByteReader } from './read-bytes.ts';
import type { ByteReader, SharedBytes } from './read-bytes.ts';

/** Serves the thin clients of our CNI plugins. */
export interface PluginService {
  /** Takes over a connection of the socket. @param first bytes that were already read from it */
  accept(socket: Socket, first?: Buffer): void;
  /** Returns when every call that was read has been answered. */
  close(): Promise<void>;
}

export interface PluginServiceOptions {
  readonly callPlugin: CallPlugin;
  /**
   * Calls under these names belong to another thread: their connections are handed over instead of served.
   */
  readonly elsewhere?: Elsewhere;
  readonly log: Pick<Logger, 'warn' | 'debug'>;
}

interface Elsewhere {
  readonly isFor: (name: string) => boolean;
  readonly handOver: (connection: HandedOver) => void;
}

/** A connection that another thread is to serve. */
export interface HandedOver {
  /** The descriptor. The receiver owns it. */
  readonly fd: number;
  /** The bytes that were read. Nothing was answered. */
  readonly first: Uint8Array;
}

/** A client that connects and sends nothing occupies a slot for at most this time. */
const silenceMs = 10_000;
/**
 * Each plugin is a process of its own with one connection, which takes three descriptors. A client that gets
 * no slot works without the daemon. A connection that has not sent its call yields to the next one.
 */
const limits = { most: 2_048, mostOfPeer: 512 };
/**
 * The maximum number of bytes of calls that are still being read, for all clients together. Several calls of
 * the largest size fit.
 */
const mostRead = 64 * 1024 * 1024;

export function createPluginService({ callPlugin, elsewhere, log }: PluginServiceOptions): PluginService {
  const underWay = new Set<Promise<void>>();
  const reading = new Set<Socket>();
  const slots = createConnectionSlots(limits);
  const memory: SharedBytes = { free: mostRead };
  let closing = false;

  const serve = async (socket: Socket, first: Buffer): Promise<void> => {
    const peer = openPeer(socket);
    if (peer === undefined) {
      log.warn({}, 'a caller of a CNI plugin was refused: it is not root, or has exited');
      return;
    }
    const place = slots.admit(String(peer.caller.pid), () => socket.destroy());
    try {
      if (place === undefined)
        return log.warn(
          { pid: peer.caller.pid },
          'a caller of a CNI plugin was refused: too many calls are under way',
        );
      const arrived = Buffer.concat([first, peer.waiting()]);
      const whole = readWhole(arrived);
      if (whole !== undefined) {
        place.busy();
        return await serveWhole(whole, arrived, socket, peer);
      }
      const reader = createByteReader(socket, arrived, maxHeld, memory);
      reading.add(socket);
      const raw = await readCallFrom(socket, peer, reader, elsewhere).finally(() => reading.delete(socket));
      place.busy();
      if (raw !== undefined) await act(raw, socket, peer, () => reader.ended());
    } finally {
      place?.leave();
      peer.close();
    }
  };

  /**
   * Serves a call that arrived completely, as nearly every call does. Nothing more is expected from its
   * socket, so it is no longer read. If the caller has gone away, sending to it fails.
   */
  const serveWhole = async (raw: RawCall, arrived: Buffer, socket: Socket, peer: Peer): Promise<void> => {
    if (elsewhere?.isFor(raw.name) === true) return handOver(elsewhere, socket, peer, arrived);
    if (peer.send(greetingOf(versions.withInput, false))) await act(raw, socket, peer, () => false);
  };

  const act = async (raw: RawCall, socket: Socket, peer: Peer, ended: () => boolean): Promise<void> => {
    const started = performance.now();
    const answer = await answerCall(raw, peer.caller, callPlugin);
    const { CNI_COMMAND: command, CNI_CONTAINERID: container } = raw.environment;
    log.debug(
      { plugin: raw.name, command, container, exitCode: answer.exitCode, ms: performance.now() - started },
      'CNI plugin',
    );
    if (ended() || !(await finish(socket, peer, answer))) await forget(raw, peer, answer);
  };

  /**
   * The caller went away before it received the answer. It will never learn of the result, so the result must
   * not stay.
   */
  const forget = async (raw: RawCall, peer: Peer, answer: PluginAnswer): Promise<void> => {
    const read = readCall(raw);
    if (answer.exitCode !== 0 || read.kind !== 'call' || read.call.verb !== 'add') return;
    log.warn(
      { plugin: raw.name, ...read.call.key },
      'the caller of a CNI plugin went away before the answer: its attachment is removed',
    );
    await undoAdd(read.call, peer.caller, callPlugin);
  };

  return {
    accept(socket, first = Buffer.alloc(0)) {
      socket.on('error', () => undefined);
      if (closing) {
        socket.destroy();
        return;
      }
      const call = serve(socket, first)
        .catch((thrown: unknown) => log.warn({ why: reasonOf(thrown) }, 'a call of a CNI plugin failed'))
        .finally(() => {
          socket.destroy();
          underWay.delete(call);
        });
      underWay.add(call);
    },
    async close() {
      closing = true;
      for (const socket of reading) socket.destroy();
      await Promise.all(underWay);
    },
  };
}

/** Returns undefined if the client violates the protocol, goes away, or was handed over. */
async function readCallFrom(
  socket: Socket,
  peer: Peer,
  reader: ByteReader,
  elsewhere: Elsewhere | undefined,
): Promise<RawCall | undefined> {
  const silence = setTimeout(() => socket.destroy(), silenceMs);
  try {
    const head = await reader.take(headSize);
    const strings = head === undefined ? 'wrong' : readHead(head);
    if (strings === 'wrong') return undefined;
    const bytes = await reader.take(strings.length);
    if (bytes === undefined) return undefined;
    const call = { ...readStrings(bytes, strings.argumentCount), stdin: Buffer.alloc(0) };
    if (elsewhere?.isFor(call.name) === true) {
      handOver(elsewhere, socket, peer, Buffer.concat([head ?? Buffer.alloc(0), bytes, reader.rest()]));
      return undefined;
    }
    if (strings.version === versions.withInput) {
      const stdin = await readInput(reader);
      return stdin !== undefined && peer.send(greetingOf(strings.version, false))
        ? { ...call, stdin }
        : undefined;
    }
    const wanted = needsInput(call);
    if (!peer.send(greetingOf(strings.version, wanted))) return undefined;
    if (!wanted) return call;
    const stdin = await readInput(reader);
    return stdin === undefined ? undefined : { ...call, stdin };
  } finally {
    clearTimeout(silence);
    reader.stop();
  }
}

/** Hands the connection over at once. It is no longer read here: later bytes are for the other thread. */
function handOver(elsewhere: Elsewhere, socket: Socket, peer: Peer, first: Buffer): void {
  elsewhere.handOver({ fd: peer.duplicate(), first });
  socket.destroy();
}

async function readInput(reader: ByteReader): Promise<Buffer | undefined> {
  const size = await reader.take(lengthSize);
  const length = size === undefined ? undefined : readInputLength(size);
  return length === undefined ? undefined : reader.take(length);
}

/** Returns false if the client is gone and could not receive the answer. */
async function finish(socket: Socket, peer: Peer, answer: PluginAnswer): Promise<boolean> {
  const bytes = writeAnswer(answer);
  const taken = peer.deliver(bytes);
  if (taken === undefined) return false;
  if (taken < bytes.length)
    await new Promise<void>((resolve) => {
      socket.once('close', resolve);
      socket.end(bytes.subarray(taken), () => resolve());
    });
  return true;
}
