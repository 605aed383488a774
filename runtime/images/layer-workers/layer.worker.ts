import { hash } from 'node:crypto';
import { existsSync, linkSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { constants, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import type { RegistryClient } from '../../../base/distribution/index.ts';
import { errorToJson } from '../../../base/errors/index.ts';
import { syncfsOf } from '../../../base/kernel/index.ts';
import { syncFolder } from '../../../base/storage/index.ts';
import { errnoOf, wrapImageError } from '../limits/failures.ts';
import { settleAll } from '../../state/settle.ts';
import { verifyFiles } from '../unpack/file-manifest.ts';
import { receiveBlob, receiveBytes } from './receive-blob.ts';
import type { BlobFetch, LayerForm, Publication, LayerAnswer, LayerCommand, LayerStart } from './protocol.ts';
import { unpackLayer } from '../unpack/unpack-layer.ts';
import { cancelledError, createWorkClock } from '../unpack/work-clock.ts';

/**
 * Fetches, unpacks, encodes and checks layers off the main thread. Several jobs may run at once; they take
 * turns at each chunk.
 */
const port = parentPort;
if (port === null) throw new Error('layer.worker runs as a Worker');
// setpriority(2) of process 0 applies to the calling thread, and the kernel derives the priority of its reads
// from it. Not SCHED_IDLE: on a busy machine, a container that waits for a page that this thread reads would
// wait forever.
const data = workerData as { readonly isBackground?: boolean; readonly form?: LayerForm } | null;
if (data?.isBackground === true) setPriority(0, constants.priority.PRIORITY_LOW);

// Loaded while the first layer is still being fetched. The first job reports a failure.
if (data?.form === 'erofs') import('../erofs/stored-layer.ts').catch(() => undefined);

interface Job {
  readonly abort: AbortController;
  lowers: PromiseWithResolvers<readonly string[]>;
}
const jobs = new Map<number, Job>();

const answer = (message: LayerAnswer): void => {
  port.postMessage(message);
};

port.on('message', (command: LayerCommand) => {
  const job = jobs.get(command.job);
  switch (command.kind) {
    case 'cancel':
      job?.abort.abort(cancelledError(''));
      job?.lowers.reject(cancelledError(''));
      return;
    case 'lowers':
      job?.lowers.resolve(command.lowers);
      return;
    case 'fetch':
    case 'unpack':
    case 'sync':
    case 'publish':
    case 'verify':
    case 'check':
      void run(command);
  }
});

async function run(command: LayerStart): Promise<void> {
  const job: Job = { abort: new AbortController(), lowers: Promise.withResolvers() };
  // Rejected by a cancellation for which no job may be waiting.
  job.lowers.promise.catch(() => undefined);
  jobs.set(command.job, job);
  try {
    if (command.kind === 'verify') {
      answer({ kind: 'verified', job: command.job, bad: await verify(command) });
      return;
    }
    if (command.kind === 'check') {
      const { fd, path, record } = command;
      (await import('../erofs/stored-layer.ts')).checkStoredLayer(fd, path, record);
      answer({ kind: 'checked', job: command.job });
      return;
    }
    if (command.kind === 'fetch') {
      await fetchBlob(command.fetch, job.abort.signal);
      answer({ kind: 'fetched', job: command.job });
      return;
    }
    if (command.kind === 'sync') {
      // One call for all files of an image: one fsync per file costs fifty times as much. All threads share
      // the descriptor.
      syncfsOf(command.fd);
      answer({ kind: 'synced', job: command.job });
      return;
    }
    if (command.kind === 'publish') {
      await publish(command.publication);
      answer({ kind: 'published', job: command.job });
      return;
    }
    const askLowers = (entries: number): Promise<readonly string[]> => {
      answer({ kind: 'lowers?', job: command.job, entries });
      return job.lowers.promise;
    };
    const clock = createWorkClock(command.cell, command.request.diffId);
    // Loaded with the first layer of its form.
    const write =
      command.form === 'erofs' ? (await import('../erofs/stored-layer.ts')).storeLayer : unpackLayer;
    const layer = await write(command.request, askLowers, clock, job.abort.signal);
    answer({ kind: 'unpacked', job: command.job, layer });
  } catch (thrown) {
    const on = subjectOf(command);
    const failure = {
      code: 'IMAGES_STORE_FAILED',
      kind: 'internal',
      attempted: `${command.kind} layer`,
      on,
      fix: 'try again; if it fails again, report this error',
    } as const;
    answer({ kind: 'failed', job: command.job, error: errorToJson(wrapImageError(thrown, failure)) });
  } finally {
    jobs.delete(command.job);
  }
}

function subjectOf(command: LayerStart): string {
  switch (command.kind) {
    case 'fetch':
      return command.fetch.descriptor.digest;
    case 'unpack':
      return command.request.diffId;
    case 'verify':
      return command.layer;
    case 'check':
      return command.path;
    case 'sync':
      return command.root;
    case 'publish':
      return command.publication.root;
  }
}

let client: { readonly key: string; readonly registry: RegistryClient } | undefined;

/** Loaded with the first large blob; connections and tokens are kept for the next one. */
async function fetchBlob(fetch: BlobFetch, signal: AbortSignal): Promise<void> {
  const { rules = [], insecureHosts, certificateFolders, tls = [] } = fetch.registry;
  const key = JSON.stringify([[...rules], insecureHosts, certificateFolders, [...tls]]);
  if (client?.key !== key) {
    await client?.registry.close();
    const { createRegistryClient } = await import('../../../base/distribution/index.ts');
    client = { key, registry: createRegistryClient({ ...fetch.registry, receiveBytes }) };
  }
  const place = client.registry.repositories(fetch.reference, fetch.credentials)[fetch.place];
  if (place === undefined) throw new Error('there is no such source');
  await receiveBlob(place, fetch.descriptor, fetch.path, signal);
}

async function publish({ moves, folders }: Publication): Promise<void> {
  for (const { kind, from, to } of moves) {
    if (kind === 'rename') {
      renameOnce(from, to);
    } else {
      // A file that may exist there belongs to no record.
      rmSync(to, { force: true });
      linkSync(from, to);
    }
  }
  // At the same time: one commit of the file system's journal can serve them all.
  await settleAll(folders.map(syncFolder));
}

/** A publication is requested again if its Worker was ended: some files may already be in their place. */
function renameOnce(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (thrown) {
    if (errnoOf(thrown) !== 'ENOENT' || existsSync(from) || !existsSync(to)) throw thrown;
  }
}

async function verify({ layer, record }: LayerCommand & { readonly kind: 'verify' }): Promise<string[]> {
  if (record.form === 'erofs') {
    (await import('../erofs/stored-layer.ts')).verifyStoredLayer(layer, record);
    return [];
  }
  const manifest = readFileSync(`${layer}/files.ndjson`, 'utf8');
  if (hash('sha256', manifest, 'hex') !== record.manifestSha256) return ['files.ndjson'];
  return verifyFiles(`${layer}/fs`, manifest);
}
