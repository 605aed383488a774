import { PortcullisError, errorFromJson, reasonOf } from '../errors/index.ts';
import { startWorker } from '../process/index.ts';
import type { WriterAnswer, WriterData, WriterMessage, WriterRequest } from './protocol.ts';
import type { Database, OpenDatabaseOptions, SqlRow, SqlValue, WriteResult } from './types.ts';

interface Waiting {
  readonly resolve: (answer: WriterAnswer) => void;
  readonly reject: (error: PortcullisError) => void;
}
type Request = WriterRequest extends infer R ? (R extends WriterRequest ? Omit<R, 'id'> : never) : never;

/**
 * Opens (or creates) a database. Only a dedicated Worker accesses its file. The Worker keeps the process
 * alive only while calls are pending.
 * @throws PortcullisError STORAGE_NEWER_SCHEMA, STORAGE_FOREIGN_SCHEMA, STORAGE_DAMAGED, STORAGE_READ_ONLY,
 * STORAGE_NO_ACCESS, STORAGE_DISK_FULL, STORAGE_BUSY
 */
export async function openDatabase(options: OpenDatabaseOptions): Promise<Database> {
  const data: WriterData = {
    path: options.path,
    migrations: options.migrations,
    busyTimeoutMs: options.busyTimeoutMs ?? 5000,
    ...(options.ballast && { ballast: options.ballast }),
  };
  const worker = startWorker(import.meta.url, './writer.worker.ts', { workerData: data, stdin: false });
  const waiting = new Map<number, Waiting>();
  let outbox: WriterRequest[] = [];
  let lastId = 0;
  let ended: PortcullisError | undefined;
  let isOpen = false;

  function end(error: PortcullisError): void {
    const isLost = isOpen && ended === undefined;
    ended ??= error;
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
    if (isLost) options.onLost?.(error);
  }
  function wait(id: number): Promise<WriterAnswer> {
    if (waiting.size === 0) worker.ref();
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  }
  function ask(request: Request): Promise<WriterAnswer> {
    if (ended !== undefined) return Promise.reject(ended);
    const id = ++lastId;
    // Calls from one turn of the event loop share one message: fewer thread wake-ups, and one commit.
    if (outbox.length === 0) queueMicrotask(flush);
    outbox.push({ ...request, id });
    return wait(id);
  }
  function flush(): void {
    const batch = outbox;
    outbox = [];
    try {
      worker.postMessage(batch);
    } catch (error) {
      // A value that cannot be cloned makes only this batch fail.
      const failure = lostWriter(options.path, reasonOf(error));
      for (const { id } of batch) settle(id, (one) => one.reject(failure));
    }
  }
  function settle(id: number, by: (one: Waiting) => void): void {
    const one = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0) worker.unref();
    if (one !== undefined) by(one);
  }

  worker.on('message', (answers: WriterMessage) => {
    for (const answer of answers) {
      settle(answer.id, (one) =>
        'error' in answer ? one.reject(errorFromJson(answer.error)) : one.resolve(answer),
      );
    }
  });
  worker.on('error', (error) => end(lostWriter(options.path, reasonOf(error))));
  worker.on('exit', (code) => end(lostWriter(options.path, `its thread ended with ${code}`)));
  await wait(0);
  isOpen = true;

  let closing: Promise<void> | undefined;
  return {
    all: async <Row extends object = SqlRow>(sql: string, params: readonly SqlValue[] = []) =>
      rowsOf(await ask({ kind: 'read', sql, params, first: false })) as Row[],
    get: async <Row extends object = SqlRow>(sql: string, params: readonly SqlValue[] = []) =>
      rowsOf(await ask({ kind: 'read', sql, params, first: true }))[0] as Row | undefined,
    write: async (statements, outlives = 'power-loss') =>
      resultsOf(await ask({ kind: 'write', statements, outlives })),
    close: () => {
      closing ??= ask({ kind: 'close' })
        .catch(() => undefined)
        .then(async () => {
          await worker.terminate();
        });
      ended ??= closedDatabase(options.path);
      return closing;
    },
  };
}

function rowsOf(answer: WriterAnswer): readonly SqlRow[] {
  return 'rows' in answer ? answer.rows : [];
}

function resultsOf(answer: WriterAnswer): readonly WriteResult[] {
  return 'results' in answer ? answer.results : [];
}

function closedDatabase(path: string): PortcullisError {
  return new PortcullisError({
    code: 'STORAGE_CLOSED',
    kind: 'unavailable',
    attempted: 'use database',
    on: path,
    why: 'it was closed',
    fix: 'open it again',
  });
}

function lostWriter(path: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'STORAGE_WRITER_LOST',
    kind: 'internal',
    attempted: 'use database',
    on: path,
    why: `its writer failed: ${why}`,
    fix: 'restart the process that uses it; acknowledged writes are on disk',
  });
}
