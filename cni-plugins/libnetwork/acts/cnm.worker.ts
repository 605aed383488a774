import { parentPort, workerData } from 'node:worker_threads';
import { asPortcullisError, errorToJson } from '../../../base/errors/index.ts';
import { openHosts } from '../../namespaces/caller.ts';
import { openNetworkDatabase } from '../../database/database.ts';
import { createActs } from './acts.ts';
import type { CnmActs } from './acts.ts';
import type { ActAnswer, ActCall, ActSettings } from './act-thread.ts';

/** The thread in which the remote driver writes to the database and moves links between namespaces. */
const port = parentPort;
if (port === null) throw new Error('cnm.worker runs as a Worker');
const { databasePath, folder } = workerData as ActSettings;

let acts: CnmActs | undefined;
function opened(): CnmActs {
  if (acts !== undefined) return acts;
  const database = openNetworkDatabase(databasePath);
  try {
    return (acts = createActs(database, openHosts(), folder));
  } catch (thrown) {
    database.close();
    throw thrown;
  }
}

port.on('message', ({ sequence, act, values }: ActCall) => {
  let answer: ActAnswer;
  try {
    answer = { sequence, value: (opened()[act] as (...given: readonly unknown[]) => unknown)(...values) };
  } catch (thrown) {
    const failure = {
      code: 'NETWORK_INTERNAL',
      kind: 'internal',
      attempted: `serve the driver call ${act}`,
      on: '',
      fix: 'report this with the log',
    } as const;
    answer = { sequence, error: errorToJson(asPortcullisError(thrown, failure)) };
  }
  port.postMessage(answer);
});
