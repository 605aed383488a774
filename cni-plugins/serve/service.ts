import type { Socket } from 'node:net';
import type { Logger } from '../../base/log/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { CallPlugin } from '../attach/plugin-call.ts';
import { needsInput, readCall } from '../spec/call.ts';
import type { RawCall } from '../spec/call.ts';
import { answerCall, undoAdd } from './answer.ts';
import type { PluginAnswer } from './answer.ts';
import { greetingOf, headSize, lengthSize, maxHeld, readHead, readInputLength, readStrings, versions, writeAnswer } from './frames.ts';
import { answerDoor, doorName } from './network-door.ts';
import type { AnswerNetwork } from './network-door.ts';
import { openPeer } from './peer.ts';
import type { Peer } from './peer.ts';
import { createByteReader } from './read-bytes.ts';
import type { ByteReader } from './read-bytes.ts';

/** Serves the thin clients of our CNI plugins. */
export interface PluginService {
  /** For each connection of the socket. */
  accept(socket: Socket): void;
  /** Returns when every call that was read has its answer. */
  close(): Promise<void>;
}

export interface PluginServiceOptions {
  readonly callPlugin: CallPlugin;
  /** What commands may ask; absent: nothing. */
  readonly answerNetwork?: AnswerNetwork;
  readonly log: Logger;
}

/** A client that connects and then says nothing holds nothing for longer. */
const silenceMs = 10_000;

export function createPluginService({ callPlugin, answerNetwork, log }: PluginServiceOptions): PluginService {
  const underWay = new Set<Promise<void>>();
  const reading = new Set<Socket>();
  let closing = false;

  const serve = async (socket: Socket): Promise<void> => {
    const peer = openPeer(socket);
    if (peer === undefined) {
      log.warn({}, 'a caller of a CNI plugin was refused: it is not root, or gone');
      return;
    }
    try {
      const reader = createByteReader(socket, peer.waiting(), maxHeld);
      reading.add(socket);
      const raw = await readCallFrom(socket, peer, reader).finally(() => reading.delete(socket));
      if (raw === undefined) return;
      if (raw.name === doorName) return await finish(socket, await answerDoor(raw.environment, answerNetwork));
      const started = performance.now();
      const answer = await answerCall(raw, peer.caller, callPlugin);
      const { CNI_COMMAND: command, CNI_CONTAINERID: container } = raw.environment;
      log.debug({ plugin: raw.name, command, container, exitCode: answer.exitCode, ms: performance.now() - started }, 'CNI plugin');
      if (socket.writable && !reader.ended()) await finish(socket, answer);
      else await forget(raw, peer, answer);
    } finally {
      peer.close();
    }
  };

  /** The caller went away before it could be told: what it will never know of must not stay. */
  const forget = async (raw: RawCall, peer: Peer, answer: PluginAnswer): Promise<void> => {
    const read = readCall(raw);
    if (answer.exitCode !== 0 || read.kind !== 'call' || read.call.verb !== 'add') return;
    log.warn({ plugin: raw.name, ...read.call.key }, 'the caller of a CNI plugin went away before the answer: its attachment is removed');
    await undoAdd(read.call, peer.caller, callPlugin);
  };

  return {
    accept(socket) {
      socket.on('error', () => undefined);
      if (closing) {
        socket.destroy();
        return;
      }
      const call = serve(socket)
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

/** Undefined when the client does not keep the protocol, or goes away. */
async function readCallFrom(socket: Socket, peer: Peer, reader: ByteReader): Promise<RawCall | undefined> {
  const silence = setTimeout(() => socket.destroy(), silenceMs);
  try {
    const head = await reader.take(headSize);
    const strings = head === undefined ? 'wrong' : readHead(head);
    if (strings === 'wrong') return undefined;
    const bytes = await reader.take(strings.length);
    if (bytes === undefined) return undefined;
    const call = { ...readStrings(bytes, strings.argumentCount), stdin: Buffer.alloc(0) };
    if (strings.version === versions.withInput) {
      const stdin = await readInput(reader);
      return stdin !== undefined && peer.tell(greetingOf(strings.version, false)) ? { ...call, stdin } : undefined;
    }
    const wanted = needsInput(call);
    if (!peer.tell(greetingOf(strings.version, wanted))) return undefined;
    if (!wanted) return call;
    const stdin = await readInput(reader);
    return stdin === undefined ? undefined : { ...call, stdin };
  } finally {
    clearTimeout(silence);
    reader.stop();
  }
}

async function readInput(reader: ByteReader): Promise<Buffer | undefined> {
  const size = await reader.take(lengthSize);
  const length = size === undefined ? undefined : readInputLength(size);
  return length === undefined ? undefined : reader.take(length);
}

function finish(socket: Socket, answer: PluginAnswer): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', resolve);
    socket.end(writeAnswer(answer), () => resolve());
  });
}
