import { open } from 'node:fs/promises';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { errorToJson } from '../errors/index.ts';
import { append } from '../lists/index.ts';
import { collectWhenQuiet } from '../process/index.ts';
import { roomOf, tendBallast } from './ballast.ts';
import { storageFailure } from './failure.ts';
import { openFile } from './open-file.ts';
import type { WriteRequest, WriterAnswer, WriterData, WriterMessage, WriterRequest } from './protocol.ts';
import { closeKeepingLog, keepRoom } from './room.ts';
import { createConnection } from './transaction.ts';
import type { Outlives } from './types.ts';

// The only thread that owns a database. While a commit waits for the disk, requests queue. The next round
// takes all of them at once.
const port = parentPort;
if (port === null) throw new Error('writer.worker.ts runs as a Worker only');
const answer = (message: WriterMessage): void => port.postMessage(message);
const data = workerData as WriterData;

const syncWithinMs = 50;
const quietMs = 20;
const retryMs = 2_000;
/** Reads that take no longer than this together have one message as their answer. */
const togetherMs = 5;

try {
  const db = openFile(data);
  const ballast = data.ballast && tendBallast(data.ballast);
  const spend = (): boolean => ballast?.spend() ?? false;
  const room = data.ballast && keepRoom(db, data.path, roomOf(data.ballast));
  const connection = createConnection(db, data.path, spend, room);
  /** Runs when no request waits for the thread, and soon after a removal has freed disk space. */
  const growSoon = (inMs: number): void => {
    if (room === undefined) return;
    pendingGrowth ??= setTimeout(() => {
      pendingGrowth = undefined;
      if (room.isLow() && !room.grow()) growSoon(retryMs);
    }, inMs).unref();
  };
  let pendingGrowth: NodeJS.Timeout | undefined;

  const write = (requests: readonly WriteRequest[]): WriterMessage =>
    connection
      .commitGroup(
        requests.map((request) => request.statements),
        outlivesOf(requests),
      )
      .map((outcome, index) => {
        const id = requests[index]?.id ?? 0;
        return 'error' in outcome
          ? { id, error: errorToJson(outcome.error) }
          : { id, results: outcome.results };
      });

  const outlivesOf = (requests: readonly WriteRequest[]): Outlives =>
    requests.every((request) => request.outlives === 'process') ? 'process' : 'power-loss';

  /**
   * Writes that did not wait for the disk are synced soon, so that a power failure loses only the last
   * moment. Only SQLite's log is unsynced.
   */
  const syncSoon = (): void => {
    pendingSync ??= setTimeout(() => {
      pendingSync = undefined;
      void syncLog().catch(() => undefined);
    }, syncWithinMs).unref();
  };
  let pendingSync: NodeJS.Timeout | undefined;
  const syncLog = async (): Promise<void> => {
    await using log = await open(`${data.path}-wal`);
    await log.datasync();
  };

  const readRows = (request: Extract<WriterRequest, { kind: 'read' }>): WriterAnswer => {
    try {
      return { id: request.id, rows: connection.read(request.sql, request.params, request.first) };
    } catch (error) {
      return { id: request.id, error: errorToJson(storageFailure(error, 'read from database', data.path)) };
    }
  };

  /** Answers short reads together, and long reads one by one: the answers of thousands take much memory. */
  const answerReads = (reads: readonly Extract<WriterRequest, { kind: 'read' }>[]): void => {
    let read: WriterAnswer[] = [];
    let since = performance.now();
    for (const request of reads) {
      read.push(readRows(request));
      if (performance.now() - since < togetherMs) continue;
      answer(read);
      read = [];
      since = performance.now();
    }
    if (read.length > 0) answer(read);
  };

  port.on('message', (first: readonly WriterRequest[]) => {
    const requests = [...first];
    for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
      append(requests, next.message as readonly WriterRequest[]);
    }
    // Writes run first, so that a read sees all writes that were requested before it.
    const writes = requests.filter((request) => request.kind === 'write');
    if (writes.length > 0) answer(write(writes));
    if (writes.length > 0 && outlivesOf(writes) === 'process') syncSoon();
    if (writes.length > 0 && room?.isLow() === true) growSoon(quietMs);
    answerReads(requests.filter((request) => request.kind === 'read'));
    const close = requests.find((request) => request.kind === 'close');
    if (close === undefined) return;
    ballast?.close();
    clearTimeout(pendingGrowth);
    if (room === undefined) db.close();
    else closeKeepingLog(db, data.path);
    answer([{ id: close.id, rows: [] }]);
    port.close();
  });
  collectWhenQuiet(port);
  answer([{ id: 0, rows: [] }]);
  growSoon(0);
  ballast?.fillSoon(data.ballast?.fillAfterMs ?? 100);
} catch (error) {
  answer([{ id: 0, error: errorToJson(storageFailure(error, 'open database', data.path)) }]);
  port.close();
}
