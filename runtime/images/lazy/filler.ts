import { closeSync, fstatSync, readFileSync } from 'node:fs';
import { lstat, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { createRegistryClient } from '../../../base/distribution/index.ts';
import type { RegistryClient } from '../../../base/distribution/index.ts';
import { attempt, meansNoSuchPath, reasonOf } from '../../../base/errors/index.ts';
import { answerPreContent, createPreContentGroup, raiseThreadPriority } from '../../../base/kernel/index.ts';
import type { PreContentEvent } from '../../../base/kernel/index.ts';
import { startWorker } from '../../../base/process/index.ts';
import { createSerialQueue } from '../../../base/queues/index.ts';
import { createFetchSlots } from './fetch-slots.ts';
import type { FetchSlots } from './fetch-slots.ts';
import { guardLayer } from './guarded-layer.ts';
import type { GuardedLayer } from './guarded-layer.ts';
import { mostWaiting, startKeeper } from './keeper.ts';
import type { Keeper } from './keeper.ts';
import type { ChunkSource } from './layer-fill.ts';
import { fillerVersion, hearMessages, sendMessage } from './protocol.ts';
import type { ChunkOrigin, FillerMessage, FillerRequest, LayerState, LazyLayer } from './protocol.ts';

/** Fetches at a time from one registry. A chunk has at most 4 MiB, and is in memory twice. */
const slotLimits = { demanded: 8, background: 3 } as const;
/** Messages that wait for a daemon. */
const mostKept = 200;
/** The priority of the daemon's main thread. */
const niceOfReaders = -10;
/** How long a filler without layers waits for a daemon. */
const idleMs = 10_000;

type LogMessage = Extract<FillerMessage, { readonly kind: 'log' }>;

/**
 * Serves a daemon at a socket until no layer needs the filler. If this process fails, the keeper refuses
 * every read that is not answered.
 * @param socket absolute path, in a folder that only its owner can access
 */
export async function runFiller(socket: string): Promise<void> {
  // Signals to the terminal or the service of the daemon must not end the filler.
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
  process.on('uncaughtException', leave);
  process.on('unhandledRejection', leave);
  favourThread();
  // A client that can connect can have files written, and the folder of the socket may be accessible to other
  // users.
  process.umask(0o077);
  const group = createPreContentGroup();
  const connections = new Set<Socket>();
  const kept: LogMessage[] = [];
  const say = (message: FillerMessage): void => {
    for (const connection of connections) sendMessage(connection, message);
    if (connections.size === 0 && message.kind === 'log' && kept.length < mostKept) kept.push(message);
  };
  const log = (level: LogMessage['level'], fields: LogMessage['fields'], text: string): void => {
    say({ kind: 'log', level, fields, text });
  };
  const keeper = await startKeeper(
    group,
    (why) => {
      log(
        'warn',
        { why },
        'the gate keeper, which refuses reads of incomplete layers, has ended and is started again',
      );
    },
    (why) => {
      const text = 'the gate keeper cannot be started: until it is, only the filler stops reads of holes';
      log('error', { why }, text);
    },
  );
  const filler = createFiller({ group, keeper, say, log });
  let isEnding = false;
  const server = createServer((connection) => {
    // Nothing would guard the layers of this daemon. It starts another filler.
    if (isEnding) {
      connection.destroy();
      return;
    }
    connections.add(connection);
    for (const message of kept.splice(0)) sendMessage(connection, message);
    connection.on('error', () => undefined);
    connection.once('close', () => connections.delete(connection));
    hearMessages(connection, (request) => {
      void filler.perform(request as FillerRequest).then((reply) => {
        sendMessage(connection, reply);
      });
    });
  });
  const endIfIdle = async (): Promise<void> => {
    if (connections.size > 0 || isEnding) return;
    await filler.forgetRemoved();
    if (connections.size > 0 || filler.isNeeded()) return;
    isEnding = true;
    await keeper.end(!hasMarks(group));
    // A daemon of another release starts another filler at the same path. The server is not closed, because
    // that would remove the socket of the other filler.
    if ((await keyOf(socket)) === own) await rm(socket, { force: true });
    leave();
  };
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, resolve);
  });
  const own = await keyOf(socket);
  setInterval(() => void endIfIdle().catch(() => leave()), idleMs);
}

/**
 * Processes wait for the answers of this thread, which only routes: on a busy machine, it must not wait
 * with them for a processor. The threads that inflate and write keep their normal priority, because they
 * also work in the background.
 */
function favourThread(): void {
  // Without CAP_SYS_NICE, answers come later.
  attempt(() => raiseThreadPriority(niceOfReaders));
}

/**
 * Ends this process at once, whatever its threads do: one of them is in read(2), for which an orderly end
 * would wait. When the end is a failure, the keeper takes over.
 */
function leave(): never {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('unreachable');
}

/** Returns `device:inode` of the file at a path; undefined: no file exists. */
async function keyOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await lstat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch (thrown) {
    if (meansNoSuchPath(thrown)) return undefined;
    throw thrown;
  }
}

/**
 * Whether any file is marked: an incomplete file that is still open somewhere. The kernel removes a mark
 * together with its file. Source: proc_pid_fdinfo(5), fanotify.
 */
function hasMarks(group: number): boolean {
  return /^fanotify (?:ino|mnt_id|sdev)/mu.test(readFileSync(`/proc/self/fdinfo/${group}`, 'utf8'));
}

interface Filler {
  perform(request: FillerRequest): Promise<FillerMessage>;
  /** Whether a layer is guarded. */
  isNeeded(): boolean;
  /**
   * Forgets the layers whose files have no name any more: their store was removed. Resolves when all requests
   * that change layers have ended.
   */
  forgetRemoved(): Promise<void>;
}

function createFiller(deps: {
  readonly group: number;
  readonly keeper: Keeper;
  readonly say: (message: FillerMessage) => void;
  readonly log: (level: LogMessage['level'], fields: LogMessage['fields'], text: string) => void;
}): Filler {
  const { group, keeper, say, log } = deps;
  const byFolder = new Map<string, GuardedLayer>();
  const byKey = new Map<string, GuardedLayer>();
  const slots = new Map<string, FetchSlots>();
  const registries = openRegistries();
  const waiting = new SharedArrayBuffer(4);
  const count = new Int32Array(waiting);
  const gate = startWorker(import.meta.url, './fanotify.worker.ts', {
    workerData: { group, waiting, most: mostWaiting, nice: niceOfReaders },
  });
  // Without this thread, no event is answered. The keeper answers as soon as this process is gone.
  gate.once('error', () => leave());
  gate.once('exit', () => leave());
  gate.on('message', (events: readonly PreContentEvent[]) => {
    for (const event of events) void answerEvent(event);
  });

  async function answerEvent({ fd, offset, length }: PreContentEvent): Promise<void> {
    try {
      if (fd < 0) return;
      const { dev, ino } = fstatSync(fd, { bigint: true });
      const layer = byKey.get(`${dev}:${ino}`);
      answerPreContent(group, fd, layer !== undefined && (await layer.admits(offset, length)));
      closeSync(fd);
    } catch (thrown) {
      log('error', { why: reasonOf(thrown) }, 'a read of a layer could not be answered');
      leave();
    } finally {
      Atomics.sub(count, 0, 1);
      Atomics.notify(count, 0);
    }
  }

  /** Requests change layers one after another: none is forgotten while it is added again. */
  const inTurn = createSerialQueue();

  async function add(layer: LazyLayer): Promise<LayerState> {
    const { folder, origin } = layer;
    const host = origin.reference.registry;
    const source = {
      name: `${host}/${origin.reference.repository}`,
      parts: registries.sourcesOf(origin, layer),
    };
    const known = byFolder.get(folder);
    if (known !== undefined) {
      if (known.key === (await keyOf(layer.path))) {
        if (!known.isFilledBy(layer.chunks))
          throw new Error('the layer is already being filled with another index');
        known.addSource(source);
        return known.state();
      }
      // That layer was removed. This file has the same name, and nothing guards it yet.
      await forget(folder);
    }
    const own = slots.get(host) ?? createFetchSlots(slotLimits);
    slots.set(host, own);
    own.hold();
    const guarded = await guardLayer(layer, { group, source, slots: own, log });
    byFolder.set(folder, guarded);
    byKey.set(guarded.key, guarded);
    void guarded.complete().then(() => {
      if (byKey.get(guarded.key) === guarded)
        say({ kind: 'state', folder, state: guarded.state(), why: guarded.why() });
    });
    return guarded.state();
  }

  async function forget(folder: string): Promise<void> {
    const layer = byFolder.get(folder);
    if (layer === undefined) return;
    // The mark of an incomplete file stays: a process that still has the file open must never read its holes.
    // First, because a failure leaves the layer to the next attempt: its reads must still be answered.
    if (layer.state() === 'complete') layer.unguard();
    byFolder.delete(folder);
    byKey.delete(layer.key);
    await layer.close();
  }

  async function perform(request: FillerRequest): Promise<FillerMessage> {
    const { id } = request;
    try {
      if (request.kind === 'hello') {
        const layers = [...byFolder.values()].map(({ folder, state }) => ({ folder, state: state() }));
        return { kind: 'hello', id, version: fillerVersion, pids: [process.pid, keeper.pid()], layers };
      }
      if (request.kind === 'add') return { kind: 'done', id, state: await inTurn(() => add(request.layer)) };
      await inTurn(() => forget(request.folder));
      return { kind: 'done', id };
    } catch (thrown) {
      return { kind: 'failed', id, why: reasonOf(thrown) };
    }
  }

  return {
    perform,
    isNeeded: () => byFolder.size > 0,
    async forgetRemoved() {
      for (const [folder, layer] of [...byFolder])
        await inTurn(async () => {
          if (byFolder.get(folder) === layer && (await layer.isRemoved())) await forget(folder);
        }).catch((thrown: unknown) => {
          log('warn', { layer: folder, why: reasonOf(thrown) }, 'a layer without a daemon is still guarded');
        });
      await inTurn(() => Promise.resolve());
    },
  };
}

/** Opens the registries of layers; layers with equal options share connections and tokens. */
function openRegistries(): {
  sourcesOf(origin: ChunkOrigin, layer: Pick<LazyLayer, 'chunks'>): readonly ChunkSource[];
} {
  const clients = new Map<string, RegistryClient>();
  return {
    sourcesOf({ registry, reference, credentials, places }, { chunks: { blob } }) {
      const { rules = [], insecureHosts, certificateFolders, tls = [] } = registry;
      const key = JSON.stringify([[...rules], insecureHosts, certificateFolders, [...tls]]);
      const client = clients.get(key) ?? createRegistryClient({ ...registry, retry: { attempts: 2 } });
      clients.set(key, client);
      const repositories = client.repositories(reference, credentials);
      return places.flatMap((place) => {
        const repository = repositories[place];
        if (repository === undefined) return [];
        const source: ChunkSource = ({ blobAt, blobBytes }, signal) =>
          repository.blobPart(blob, { offset: blobAt, length: blobBytes }, signal);
        return [source];
      });
    },
  };
}
