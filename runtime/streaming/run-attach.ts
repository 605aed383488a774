import { open } from 'node:fs/promises';
import { constants } from 'node:fs';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { errnoOf, meansGone, reasonOf } from '../../base/errors/index.ts';
import {
  adopt,
  AF_UNIX,
  connectUnix,
  prepareFd,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  socket,
} from '../../base/kernel/index.ts';
import { resizeTask } from '../shim/exec.ts';
import { aborted } from './command-streams.ts';
import type { CommandStreams, WindowSize } from './command-streams.ts';
import type { Outcome } from './outcome.ts';
import type { AttachPlan } from './plan.ts';
import { createStallLimits } from './stall-limits.ts';

/**
 * conmon sends 1 + 8192 bytes per packet, and reads 8 KiB of a packet: the rest of a larger packet would be
 * lost.
 */
const [packetRoom, inputPacket] = [16 * 1024, 8 * 1024];
/** conmon reads the content of its FIFO as one line. */
const resizeMs = 50;
/** How long a client that has ended its input still receives output: the answer to its last input. */
const lastAnswerMs = 500;
/**
 * How long a client may accept no output, at most. Until then the monitor waits for it, and with the monitor
 * the container's output, its log and the report of its exit.
 */
const stalledMs = 5_000;
const stalls = createStallLimits({ firstMs: stalledMs, leastMs: 500, rememberMs: 60_000 });
/**
 * How long a client waits for the monitor, and how often it tries: ten clients fit into the queue of conmon,
 * which accepts none while it waits for one that does not read.
 */
const [queuedMs, retryMs] = [2 * stalledMs, 50];
/**
 * How long the output is still read after a client has left; longer than the monitor waits for a client that
 * does not read. conmon 2.1 frees a client that it could not write to when it sees the end of its input, and
 * then reads the freed memory. It was killed by that when clients left a busy container, and the container's
 * log ended. So the end of the input comes first, and the connection is closed when conmon has seen it.
 */
const leaveMs = 6_000;
/** How many such connections stay at most; the oldest is closed first. */
const mostLeaving = 256;
const leaving = new Set<Socket>();
const outputOf = { 2: 'stdout', 3: 'stderr' } as const;

/**
 * Connects to a running container's standard streams through its monitor's socket. The monitor sends packets
 * of one byte (2 stdout, 3 stderr) and content. It receives raw input, and a shutdown is the end of input.
 * The container's end is a success. A client that disconnects does not affect the container. Unless the
 * container's input is closed after its first client (stdin_once), the end of input ends the session, as with
 * containerd. This is how a terminal is detached from (crictl, Ctrl-P Ctrl-Q). The session of a client that
 * accepts no output for 5 s ends with a failure, or earlier if other such clients were detached just before.
 */
export async function runAttach(plan: AttachPlan, streams: CommandStreams): Promise<Outcome> {
  const over = Promise.withResolvers<Outcome>();
  let attached: Attached;
  const leave = (outcome: Outcome): void => {
    attached.leave();
    over.resolve(outcome);
  };
  const onGone = (): void => leave({ kind: 'success' });
  try {
    attached = await connected(plan.socket, streams, (ms) =>
      leave({ kind: 'failure', why: `detached: the client accepted no output for ${ms / 1_000} s` }),
    );
  } catch (cause) {
    return { kind: 'failure', why: `error attaching to container: ${whyNot(cause)}` };
  }
  const { connection } = attached;
  connection.once('close', () => over.resolve({ kind: 'success' }));
  connection.on('error', () => connection.destroy());
  connection.once('end', () => connection.destroy());
  streams.gone.addEventListener('abort', onGone);
  if (streams.gone.aborted) onGone();
  let lastAnswer: NodeJS.Timeout | undefined;
  if (streams.stdin !== undefined) {
    void pumpPackets(streams.stdin, connection).then((ended) => {
      if (ended && plan.endsWithInput && !connection.destroyed) lastAnswer = setTimeout(onGone, lastAnswerMs);
    });
  }
  const { shimBundle } = plan;
  const resizer = resizeBy(
    shimBundle === undefined
      ? (size) => writeSize(plan.windowSize, size)
      : (size) => resizeTask(plan.container, shimBundle, size),
  );
  streams.onResize(resizer.set);
  const outcome = await over.promise;
  clearTimeout(lastAnswer);
  resizer.stop();
  streams.gone.removeEventListener('abort', onGone);
  return outcome;
}

/** Connects as soon as the queue of the monitor has room. @throws the error of the last attempt */
async function connected(...[path, streams, stalled]: Parameters<typeof connect>): Promise<Attached> {
  for (const end = performance.now() + queuedMs; ; await aborted(streams.gone, retryMs))
    try {
      return connect(path, streams, stalled);
    } catch (cause) {
      if (errnoOf(cause) !== 'EAGAIN' || streams.gone.aborted || performance.now() > end) throw cause;
    }
}

function whyNot(cause: unknown): string {
  if (meansGone(cause)) return 'the container has ended';
  if (errnoOf(cause) === 'EAGAIN') return `its monitor has accepted no client for ${queuedMs / 1_000} s`;
  return reasonOf(cause);
}

/** A connection to a monitor. */
interface Attached {
  readonly connection: Socket;
  /** Ends the input at once, and the connection a little later. Until then all output is dropped. */
  leave(): void;
}

/** @param stalled called when the client has accepted no output for too long, with the milliseconds */
function connect(path: string, streams: CommandStreams, stalled: (ms: number) => void): Attached {
  const fd = prepareFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0), (opened) =>
    connectUnix(opened, path),
  );
  const sinks: Partial<Record<number, Writable>> = {};
  for (const [byte, name] of Object.entries(outputOf)) {
    const sink = streams[name];
    if (sink !== undefined) sinks[Number(byte)] = sink;
  }
  let waiting: NodeJS.Timeout | undefined;
  let [resumedAt, hasLeft] = [0, false];
  const accepts = (sink: Writable, bytes: Buffer): boolean => {
    if (hasLeft || !sink.writable || sink.write(bytes)) return true;
    waiting ??= waitFor(stalls.of(path, resumedAt));
    return false;
  };
  const waitFor = (ms: number): NodeJS.Timeout =>
    setTimeout(() => {
      stalls.detached(path);
      stalled(ms);
    }, ms);
  const adopted = adopt(fd, {
    buffer: Buffer.alloc(packetRoom),
    callback: (length, buffer) => {
      const sink = length > 1 ? sinks[buffer[0] ?? 0] : undefined;
      // The buffer is reused for the next packet. False: nothing more is read until the sink has drained.
      return sink === undefined || accepts(sink, Buffer.from(buffer.subarray(1, length)));
    },
  });
  const goOn = (): void => {
    if (waiting !== undefined) resumedAt = performance.now();
    clearTimeout(waiting);
    waiting = undefined;
    adopted.socket.resume();
  };
  for (const sink of Object.values(sinks)) {
    sink?.on('drain', goOn);
    sink?.on('close', goOn);
  }
  adopted.socket.once('close', () => clearTimeout(waiting));
  return {
    connection: adopted.socket,
    leave: () => {
      if (hasLeft || adopted.socket.destroyed) return;
      hasLeft = true;
      adopted.socket.end();
      goOn();
      closeLater(adopted.socket);
    },
  };
}

function closeLater(connection: Socket): void {
  const closing = setTimeout(() => connection.destroy(), leaveMs);
  leaving.add(connection);
  connection.once('close', () => {
    clearTimeout(closing);
    leaving.delete(connection);
  });
  const [oldest] = leaving;
  if (leaving.size > mostLeaving) oldest?.destroy();
}

/**
 * Sends the client's input.
 * @returns whether the client ended its input, and all of it is sent
 */
async function pumpPackets(source: Readable, connection: Socket): Promise<boolean> {
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += inputPacket) {
        // The client has left.
        if (connection.writableEnded) return false;
        const packet = chunk.subarray(at, at + inputPacket);
        // Sends one packet at a time, because Node would join two waiting packets into one.
        await new Promise<void>((resolve, reject) =>
          connection.write(packet, (reason) => (reason ? reject(reason) : resolve())),
        );
      }
    }
    connection.end();
    return true;
  } catch {
    // The client reset its input, or the container has ended.
    return false;
  }
}

/** Writes a size to the monitor's FIFO. */
async function writeSize(fifo: string, { rows, columns }: WindowSize): Promise<void> {
  await using file = await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
  await file.write(`${rows} ${columns}\n`);
}

/** Passes sizes on. If several sizes arrive at once, only the latest is passed on. */
function resizeBy(write: (size: WindowSize) => Promise<void>): {
  readonly set: (size: WindowSize) => void;
  readonly stop: () => void;
} {
  let latest: WindowSize | undefined;
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    timer = undefined;
    if (latest === undefined) return;
    // A container without a terminal has no such FIFO, and no terminal to resize.
    write(latest).catch(() => undefined);
    latest = undefined;
    timer = setTimeout(flush, resizeMs);
  };
  return {
    set: (size) => {
      latest = size;
      if (timer === undefined) flush();
    },
    stop: () => clearTimeout(timer),
  };
}
