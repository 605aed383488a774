import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { WindowSize } from './command-streams.ts';
import { channels, closeSignal } from './websocket-command.ts';

/** The ends of a streamed command on the side of its client. */
export interface CommandEnds {
  readonly stdin?: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** The size of the client's terminal, now and at each change; absent without a terminal. */
  readonly size?: { now(): WindowSize; onChange(listener: () => void): void };
  /** Called when the command runs. Until then the keys of a terminal belong to the client. */
  readonly onStart?: () => void;
  /** Runs the command in another way. Called if no connection can be made, so that it does not run twice. */
  readonly orElse?: () => Promise<number>;
}

/** The second one, of older runtimes, cannot end an input. */
const protocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;
/** The daemon answers at once: it has the request already. */
const handshakeMs = 10_000;
/** The status is a short JSON object; a longer one is not a status. */
const mostStatusBytes = 64 * 1024;

/**
 * Runs a command at the URL that a CRI server returned for Exec, over WebSocket as kubectl does, and returns
 * the exit code of the command. A slow reader of the output slows the command down.
 * @throws PortcullisError `CRI_STREAM_FAILED`
 */
export async function runStreamedCommand(url: string, ends: CommandEnds): Promise<number> {
  // Only this function needs the library.
  const { WebSocket: Client } = await import('ws');
  let connected = false;
  const isConnected = (): boolean => connected;
  const usable = ends.stdin === undefined ? [...protocols] : [protocols[0]];
  const socket = new Client(url.replace(/^http/u, 'ws'), usable, {
    perMessageDeflate: false,
    handshakeTimeout: handshakeMs,
    finishRequest(request) {
      // With TLS, nothing is sent before the certificate of the server is verified.
      const ready = url.startsWith('https') ? 'secureConnect' : 'connect';
      request.once('socket', (connection) => connection.once(ready, () => (connected = true)));
      request.end();
    },
  });
  let problem = '';
  socket.on('error', (error) => (problem = error.message));
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const status = statusOf(socket, ends);
  socket.once('open', () => {
    connected = true;
    ends.onStart?.();
    const sendSize = (): void => send(socket, channels.resize, Buffer.from(sizeText(ends.size?.now())));
    if (ends.size !== undefined) {
      sendSize();
      ends.size.onChange(sendSize);
    }
    if (ends.stdin !== undefined)
      void sendInput(socket, ends.stdin).catch((error: unknown) => {
        problem = `standard input cannot be read: ${reasonOf(error)}`;
        // The command waits for input that cannot come.
        socket.terminate();
      });
  });
  await closed;
  if (!isConnected() && ends.orElse !== undefined) return ends.orElse();
  return exitCodeOf(status(), problem, url);
}

const sizeText = (size: WindowSize | undefined): string =>
  JSON.stringify({ Width: size?.columns ?? 80, Height: size?.rows ?? 24 });

function send(socket: WebSocket, channel: number, bytes: Uint8Array): void {
  if (socket.readyState === socket.OPEN) socket.send(Buffer.concat([Buffer.from([channel]), bytes]));
}

/**
 * Sends the input and its end. Waits for each chunk, so that a command that does not read stops the input.
 */
async function sendInput(socket: WebSocket, stdin: Readable): Promise<void> {
  for await (const chunk of stdin) {
    if (socket.readyState !== socket.OPEN) return;
    const message = Buffer.concat([Buffer.from([channels.stdin]), chunk as Buffer]);
    await new Promise<void>((resolve) => socket.send(message, () => resolve()));
  }
  send(socket, closeSignal, Buffer.from([channels.stdin]));
}

/** Writes the output of the command as it arrives. Returns the text of the status so far. */
function statusOf(socket: WebSocket, { stdout, stderr }: CommandEnds): () => string {
  let status = '';
  let isPaused = false;
  socket.on('message', (data: RawData) => {
    const bytes = data as Buffer;
    const [channel] = bytes;
    const content = bytes.subarray(1);
    if (channel === channels.error && status.length < mostStatusBytes) status += content.toString();
    const output = channel === channels.stdout ? stdout : channel === channels.stderr ? stderr : undefined;
    if (output === undefined || content.length === 0 || output.write(content)) return;
    // Messages that arrived together are delivered also after the pause.
    if (isPaused) return;
    isPaused = true;
    socket.pause();
    void once(output, 'drain').then(
      () => {
        isPaused = false;
        socket.resume();
      },
      () => socket.terminate(),
    );
  });
  return () => status;
}

interface Status {
  readonly status?: unknown;
  readonly message?: unknown;
  readonly details?: {
    readonly causes?: readonly ({ readonly reason?: unknown; readonly message?: unknown } | null)[];
  };
}

/** The words by which kubelets know a command that failed, and the cause. */
const envelope = /^Internal error occurred: error executing command in container: (.+)$/su;
const inContainerFix =
  'check that the container runs, and the command: the program, its folder and its permissions are those inside the container';

/** Reads the metav1.Status that ends a command (v4 and later). */
function exitCodeOf(text: string, problem: string, url: string): number {
  const fails = (
    why: string,
    attempted = 'run a command at',
    // The path is a token.
    on = new URL(url).origin,
    fix = 'check the log of the daemon, and try again',
  ): PortcullisError =>
    new PortcullisError({ code: 'CRI_STREAM_FAILED', kind: 'unavailable', attempted, on, why, fix });
  if (text === '') throw fails(problem === '' ? 'the connection ended before the command did' : problem);
  let read: Status;
  try {
    const value = parseJson(text);
    if (typeof value !== 'object' || value === null) throw new Error('it is not an object');
    read = value;
  } catch {
    throw fails('the status at its end is not a JSON object');
  }
  if (read.status === 'Success') return 0;
  const code = read.details?.causes?.find((cause) => cause?.reason === 'ExitCode')?.message;
  if (typeof code === 'string' && /^\d{1,3}$/u.test(code) && Number(code) <= 255) return Number(code);
  if (typeof read.message !== 'string') throw fails('its status does not contain an exit code');
  const inContainer = envelope.exec(read.message)?.[1];
  if (inContainer === undefined) throw fails(read.message);
  throw fails(inContainer, 'run a command in', 'the container', inContainerFix);
}
