import { reasonOf } from '../../base/errors/index.ts';
import { sameProcess } from '../../base/process/index.ts';
import { signalProcess } from '../processes/processes.ts';
import { readShimRecord } from './shim-record.ts';
import { watchSilence } from './unresponsive-shim.ts';
import { openTaskApi } from './task-api.ts';
import type { TaskApi } from './task-api.ts';

const SIGKILL = 9;

/** Connections to shims, one for each, by the records in folders of pods and containers. */
export interface ShimConnections {
  /** Connects to the shim that the record in a folder names. Undefined: there is no record. */
  apiOf(folder: string): Promise<TaskApi | undefined>;
  /** Like `apiOf`, and throws where there is no record. */
  required(folder: string): Promise<TaskApi>;
  /** Whether the process of the shim has ended. */
  isDead(folder: string): Promise<boolean>;
  close(): void;
}

/** @param gaveUp is called before a shim is killed because it does not answer */
export function createConnections(gaveUp: (socket: string) => void): ShimConnections {
  /** By the socket of the shim. */
  const connections = new Map<string, Promise<TaskApi>>();
  const silences = new Map<string, ReturnType<typeof watchSilence>>();
  const apiOf = async (folder: string): Promise<TaskApi | undefined> => {
    const record = await readShimRecord(folder);
    if (record === undefined) return undefined;
    const { socket } = record;
    const known = connections.get(socket);
    if (known !== undefined) return known;
    const silence =
      silences.get(socket) ??
      watchSilence(() => {
        // The record may have been completed since, by the process of the shim.
        void readShimRecord(folder)
          .then((latest) => {
            if (latest?.socket !== socket || latest.process === undefined || !sameProcess(latest.process))
              return;
            gaveUp(socket);
            signalProcess(latest.process, SIGKILL);
          })
          .catch(() => undefined);
      });
    silences.set(socket, silence);
    const opening = openTaskApi(record).then(silence.watched);
    connections.set(socket, opening);
    const forget = (): void => {
      if (connections.get(socket) === opening) connections.delete(socket);
    };
    opening.then(
      (api) => {
        void api.closed.then(() => {
          forget();
          silences.delete(socket);
        });
      },
      (thrown: unknown) => {
        forget();
        // A shim that accepts no connection, and lives, is as silent as one that does not answer.
        if (!isOwnShortage(thrown)) silence.unreachable();
        if (record.process === undefined || !sameProcess(record.process)) silences.delete(socket);
      },
    );
    return opening;
  };
  const isDead = async (folder: string): Promise<boolean> => {
    const shim = (await readShimRecord(folder))?.process;
    return shim === undefined || !sameProcess(shim);
  };
  const required = async (folder: string): Promise<TaskApi> => {
    const api = await apiOf(folder);
    if (api !== undefined) return api;
    throw new Error(`${folder} has no record of a shim`);
  };
  return {
    apiOf,
    required,
    isDead,
    close: () => {
      for (const opening of connections.values())
        opening.then(
          (api) => api.close(),
          () => undefined,
        );
    },
  };
}

/** Whether this process has no descriptor or memory left for a connection, which says nothing of the shim. */
export function isOwnShortage(thrown: unknown): boolean {
  return /\b(?:EMFILE|ENFILE|ENOMEM|ENOBUFS)\b/u.test(reasonOf(thrown));
}
