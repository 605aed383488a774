import { spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { errnoOf, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { workerFile } from '../../../base/process/index.ts';
import { fillerVersion, hearMessages, sendMessage } from './protocol.ts';
import type { FillerMessage, FillerRequest, LayerState, LazyLayer } from './protocol.ts';

const startMs = 20_000;
const answerMs = 20_000;

/** The connection of a daemon to the filler. */
export interface FillerClient {
  /** The layers that the filler guards, with the state of each. */
  readonly layers: ReadonlyMap<string, LayerState>;
  /** Resolves when no process can read the holes of the file. @throws Error with the reason of the filler */
  add(layer: LazyLayer): Promise<void>;
  forget(folder: string): Promise<void>;
  /** Disconnects. The filler continues, and ends when it has no layer. */
  close(): void;
}

export interface FillerClientDeps {
  /** Absolute path of the filler's socket, at most 107 bytes. */
  readonly socket: string;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Called when the state of a layer is final. */
  readonly onState: (folder: string, state: LayerState, why: string) => void;
  /** Called when the filler is gone: the layers are no longer guarded, and every read of them fails. */
  readonly onLost: () => void;
  /** Called with each process of the filler: they outlive the daemon. */
  readonly onStarted?: ((pid: number) => void) | undefined;
}

/**
 * Connects to the filler that an earlier run of the daemon has left.
 * @returns undefined when no filler runs
 * @throws the error of connect(2), with its errno, when a filler may run and cannot be reached now; an Error
 * without errno when it does not answer, or belongs to another release
 */
export async function findFiller(deps: FillerClientDeps): Promise<FillerClient | undefined> {
  const socket = await dial(deps.socket);
  return socket && attend(deps, socket);
}

/**
 * Starts a filler. A file at the path of its socket is removed.
 * @throws Error when it does not start
 */
export async function startFiller(deps: FillerClientDeps): Promise<FillerClient> {
  return attend(deps, await startAt(deps));
}

async function attend(deps: FillerClientDeps, socket: Socket): Promise<FillerClient> {
  const { log, onState, onLost } = deps;
  const layers = new Map<string, LayerState>();
  const waiting = new Map<
    number,
    PromiseWithResolvers<FillerMessage> & { readonly heard: (reply: FillerMessage) => void }
  >();
  let [id, isClosed, isGreeted] = [0, false, false];
  socket.on('error', () => undefined);
  socket.once('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('the filler of layers has ended'));
    waiting.clear();
    layers.clear();
    if (isGreeted && !isClosed) onLost();
  });
  hearMessages(socket, (received) => {
    const message = received as FillerMessage;
    if (message.kind === 'log') log[message.level](message.fields, message.text);
    else if (message.kind === 'state') {
      // The answer to the greeting has it too.
      if (!isGreeted) return;
      layers.set(message.folder, message.state);
      onState(message.folder, message.state, message.why);
    } else {
      const asked = waiting.get(message.id);
      // At once: a later message may have arrived already, with the final state of the same layer.
      asked?.heard(message);
      asked?.resolve(message);
    }
  });

  type Asked<T> = T extends { readonly id: number } ? Omit<T, 'id'> : never;
  async function ask(
    request: Asked<FillerRequest>,
    heard: (reply: FillerMessage) => void = () => undefined,
  ): Promise<FillerMessage> {
    if (socket.destroyed) throw new Error('the filler of layers has ended');
    id += 1;
    const own = id;
    const answer = Promise.withResolvers<FillerMessage>();
    waiting.set(own, { ...answer, heard });
    const late = setTimeout(() => {
      answer.reject(new Error(`the filler of layers did not answer within ${answerMs / 1000} s`));
    }, answerMs);
    try {
      sendMessage(socket, { ...request, id: own });
      const reply = await answer.promise;
      if (reply.kind === 'failed') throw new Error(reply.why);
      return reply;
    } finally {
      clearTimeout(late);
      waiting.delete(own);
    }
  }

  function close(): void {
    isClosed = true;
    socket.destroy();
  }

  async function greet(): Promise<Extract<FillerMessage, { readonly kind: 'hello' }>> {
    const hello = await ask({ kind: 'hello' }, (reply) => {
      if (reply.kind !== 'hello' || reply.version !== fillerVersion) return;
      isGreeted = true;
      for (const { folder, state } of reply.layers) layers.set(folder, state);
    });
    if (hello.kind === 'hello' && hello.version === fillerVersion) return hello;
    throw new Error('the running filler belongs to another release, and ends with its last layer');
  }

  const hello = await greet().catch((thrown: unknown) => {
    // A filler with a connection does not end.
    close();
    throw thrown;
  });
  for (const pid of hello.pids) deps.onStarted?.(pid);
  // The connection does not keep the process of the daemon alive.
  socket.unref();
  return {
    layers,
    async add(layer) {
      await ask({ kind: 'add', layer }, (reply) => {
        if (reply.kind === 'done') layers.set(layer.folder, reply.state ?? 'filling');
      });
    },
    async forget(folder) {
      if (!socket.destroyed) await ask({ kind: 'forget', folder });
      // After a failure, the layer stays in the list, so that the request is repeated.
      layers.delete(folder);
    },
    close,
  };
}

/**
 * Connects to a socket.
 * @returns undefined when no process listens at the path
 * @throws any other error: a shortage, for example, says nothing about the process
 */
function dial(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      resolve(socket);
    });
    socket.once('error', (error) => {
      const errno = errnoOf(error);
      if (errno === 'ENOENT' || errno === 'ECONNREFUSED') resolve(undefined);
      else reject(error);
    });
  });
}

async function startAt({ socket: path }: FillerClientDeps): Promise<Socket> {
  await rm(path, { force: true });
  const program = workerFile(import.meta.url, './filler.worker.ts');
  // The filler gets no descriptor of the daemon, and only the variables that it needs to reach registries:
  // others may hold secrets.
  const names = ['PATH', 'NODE_COMPILE_CACHE', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR'];
  for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']) names.push(name, name.toLowerCase());
  const child = spawn(process.execPath, ['--max-semi-space-size=1', '--single-threaded-gc', program, path], {
    argv0: 'portcullis-filler',
    detached: true,
    cwd: '/',
    stdio: 'ignore',
    env: Object.fromEntries(
      names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
    ),
  });
  let ended: string | undefined;
  let refusal = '';
  child.once('error', (error) => (ended = reasonOf(error)));
  child.once('exit', (code, signal) => (ended = `it ended with ${signal ?? `code ${code}`}`));
  child.unref();
  const until = performance.now() + startMs;
  while (performance.now() < until) {
    const socket = await dial(path).catch((thrown: unknown) => {
      refusal = `: ${reasonOf(thrown)}`;
      return undefined;
    });
    if (socket !== undefined) {
      return socket;
    }
    if (ended !== undefined) throw new Error(`the filler of layers did not start: ${ended}`);
    await pause(10);
  }
  child.kill('SIGKILL');
  throw new Error(`the filler of layers did not start within ${startMs / 1000} s${refusal}`);
}
