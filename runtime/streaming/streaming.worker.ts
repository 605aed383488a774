import { parentPort, workerData } from 'node:worker_threads';
import { reasonOf } from '../../base/errors/index.ts';
import { openHostPaths } from '../host-paths/host-paths.ts';
import { startLocally } from './local-programs.ts';
import type { FromWorker, SessionKind, StreamingWorkerData, ToWorker } from './plan.ts';
import { runAttach } from './run-attach.ts';
import { runExec } from './run-exec.ts';
import type { Refusal } from './refusal.ts';
import { startStreamingServer } from './server.ts';
import type { Taken } from './server.ts';

const data = workerData as StreamingWorkerData;
const report = (message: FromWorker): void => parentPort?.postMessage(message);
const waiting = new Map<number, (answer: Taken | Refusal) => void>();
let serial = 0;

const take = (kind: SessionKind, token: string): Promise<Taken | Refusal> =>
  new Promise((resolve) => {
    serial += 1;
    waiting.set(serial, resolve);
    report({ type: 'take', id: serial, kind, token });
  });

try {
  const paths = await openHostPaths(startLocally, []);
  const server = await startStreamingServer({
    options: data,
    take,
    command: (plan, streams) =>
      plan.kind === 'exec'
        ? runExec(plan, streams, {
            startProgram: startLocally,
            paths,
            scopes: data.scopes,
            socketFolder: data.socketFolder,
          })
        : runAttach(plan, streams),
  });
  parentPort?.on('message', (message: ToWorker) => {
    if (message.type === 'close')
      return void Promise.all([server.close(), paths.close()]).then(() => parentPort?.close());
    const { id } = message;
    const answer = waiting.get(id);
    waiting.delete(id);
    if (message.type === 'refused') answer?.({ status: message.status, why: message.why });
    else answer?.({ plan: message.plan, ended: (how) => report({ type: 'ended', id, how }) });
  });
  report({ type: 'listening', port: server.port });
} catch (cause) {
  report({ type: 'failed', why: reasonOf(cause) });
}
