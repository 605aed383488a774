import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { errorFromJson } from '../../../base/errors/index.ts';
import { startWorker } from '../../../base/process/index.ts';
import { imageError } from '../failures.ts';
import type { BlobFetch, Publication, UnpackAnswer, UnpackCommand } from './protocol.ts';
import type { UnpackRequest, UnpackedLayer } from './unpack-layer.ts';

/** Unpack Workers: started when there is work, stopped when there has been none for a while. */
export interface UnpackPool {
  /** Starts a Worker now, so that it is there when the first layer is. */
  warm(): void;
  /** @param lowers roots of the layers below, top-most first, once they are unpacked; called only for a layer that needs them */
  unpack(request: UnpackRequest, lowers: () => Promise<readonly string[]>, signal?: AbortSignal): Promise<UnpackedLayer>;
  /** Fails with the registry client's errors. */
  fetch(fetch: BlobFetch, signal: AbortSignal): Promise<void>;
  publish(publication: Publication): Promise<void>;
  /** Names of files that differ from the layer's manifest; empty when the layer is whole. */
  verify(layer: string, manifestSha256: string): Promise<readonly string[]>;
  busy(): boolean;
  close(): Promise<void>;
}

const idleMs = 10_000;
const jobsPerWorker = 2;

interface Pending {
  readonly start: UnpackCommand;
  readonly lowers: () => Promise<readonly string[]>;
  readonly settle: PromiseWithResolvers<UnpackAnswer>;
  /** It waits for the layers below, and so does not count as work: layers must never wait for each other's turn. */
  waiting: boolean;
}
interface Member {
  readonly worker: Worker;
  readonly jobs: Map<number, Pending>;
}

export function createUnpackPool(size = Math.min(4, availableParallelism())): UnpackPool {
  const members = new Set<Member>();
  const queue: Pending[] = [];
  let nextJob = 1;
  let idle: NodeJS.Timeout | undefined;
  let closed = false;

  function startMember(): Member {
    const worker = startWorker(import.meta.url, './unpack.worker.ts');
    const member: Member = { worker, jobs: new Map() };
    members.add(member);
    worker.on('message', (message: UnpackAnswer) => {
      receive(member, message);
    });
    worker.on('error', (error) => {
      drop(member, error);
    });
    worker.on('exit', () => {
      drop(member, new Error('the unpack Worker ended'));
    });
    worker.unref();
    return member;
  }

  function drop(member: Member, reason: unknown): void {
    if (!members.delete(member)) return;
    for (const job of member.jobs.values()) job.settle.reject(lost(reason));
    member.jobs.clear();
    schedule();
  }

  function receive(member: Member, message: UnpackAnswer): void {
    const job = member.jobs.get(message.job);
    if (job === undefined) return;
    if (message.kind === 'lowers?') {
      job.lowers().then(
        (lowers) => {
          member.worker.postMessage({ kind: 'lowers', job: message.job, lowers } satisfies UnpackCommand);
        },
        () => {
          member.worker.postMessage({ kind: 'cancel', job: message.job } satisfies UnpackCommand);
        },
      );
      job.waiting = true;
      schedule();
      return;
    }
    member.jobs.delete(message.job);
    if (member.jobs.size === 0) member.worker.unref();
    if (message.kind === 'failed') job.settle.reject(errorFromJson(message.error));
    else job.settle.resolve(message);
    schedule();
  }

  function schedule(): void {
    while (queue.length > 0 && !closed) {
      const member = freeMember();
      if (member === undefined) break;
      const job = queue.shift();
      if (job === undefined) break;
      member.jobs.set(job.start.job, job);
      member.worker.ref();
      member.worker.postMessage(job.start);
    }
    if (idle !== undefined) clearTimeout(idle);
    idle = undefined;
    if (members.size > 0 && [...members].every((member) => member.jobs.size === 0)) idle = setTimeout(retire, idleMs).unref();
  }

  /** The least busy Worker, or a new one while there may be more. */
  function freeMember(): Member | undefined {
    let best: Member | undefined;
    for (const member of members) if (best === undefined || load(member) < load(best)) best = member;
    if ((best === undefined || load(best) > 0) && members.size < size) return startMember();
    return best !== undefined && load(best) < jobsPerWorker ? best : undefined;
  }

  function retire(): void {
    for (const member of [...members]) {
      if (member.jobs.size > 0) continue;
      members.delete(member);
      void member.worker.terminate();
    }
  }

  async function run(start: UnpackCommand, lowers: () => Promise<readonly string[]>, signal?: AbortSignal): Promise<UnpackAnswer> {
    if (closed) throw lost(new Error('the image store is closed'));
    signal?.throwIfAborted();
    const job: Pending = { start, lowers, settle: Promise.withResolvers(), waiting: false };
    const cancel = (): void => {
      const at = queue.indexOf(job);
      if (at >= 0) {
        queue.splice(at, 1);
        job.settle.reject(signal?.reason);
      }
      for (const member of members) {
        if (member.jobs.has(start.job)) member.worker.postMessage({ kind: 'cancel', job: start.job } satisfies UnpackCommand);
      }
    };
    signal?.addEventListener('abort', cancel);
    queue.push(job);
    schedule();
    try {
      return await job.settle.promise;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  return {
    warm() {
      if (members.size === 0 && !closed) startMember();
      schedule();
    },
    async unpack(request, lowers, signal) {
      const answer = await run({ kind: 'unpack', job: nextJob++, request }, lowers, signal);
      if (answer.kind !== 'unpacked') throw lost(new Error(`unexpected answer ${answer.kind}`));
      return answer.layer;
    },
    async fetch(fetch, signal) {
      const answer = await run({ kind: 'fetch', job: nextJob++, fetch }, noLowers, signal);
      if (answer.kind !== 'fetched') throw lost(new Error(`unexpected answer ${answer.kind}`));
    },
    async publish(publication) {
      const answer = await run({ kind: 'publish', job: nextJob++, publication }, noLowers);
      if (answer.kind !== 'published') throw lost(new Error(`unexpected answer ${answer.kind}`));
    },
    async verify(layer, manifestSha256) {
      const answer = await run({ kind: 'verify', job: nextJob++, layer, manifestSha256 }, noLowers);
      if (answer.kind !== 'verified') throw lost(new Error(`unexpected answer ${answer.kind}`));
      return answer.bad;
    },
    busy: () => queue.length > 0 || [...members].some((member) => member.jobs.size > 0),
    async close() {
      closed = true;
      if (idle !== undefined) clearTimeout(idle);
      const ending = [...members];
      for (const member of ending) drop(member, new Error('the image store is closed'));
      await Promise.all(ending.map((member) => member.worker.terminate()));
    },
  };
}

const noLowers = (): Promise<readonly string[]> => Promise.resolve([]);

function load(member: Member): number {
  let count = 0;
  for (const job of member.jobs.values()) if (!job.waiting) count++;
  return count;
}

function lost(reason: unknown): Error {
  return imageError({
    code: 'IMAGES_STORE_FAILED',
    kind: 'internal',
    attempted: 'unpack layer',
    on: '',
    why: reason instanceof Error ? reason.message : String(reason),
    fix: 'pull again; if it repeats, see the log of the daemon',
    cause: reason,
  });
}
