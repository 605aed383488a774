import { sameProcess } from '../../base/process/index.ts';
import { readShimRecord } from './shim-record.ts';
import { openTaskApi } from './task-api.ts';
import type { TaskApi } from './task-api.ts';

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

export function createConnections(): ShimConnections {
  /** By the socket of the shim. */
  const connections = new Map<string, Promise<TaskApi>>();
  /** Connects to the shim that the record in a folder names. Undefined: there is no record. */
  const apiOf = async (folder: string): Promise<TaskApi | undefined> => {
    const record = await readShimRecord(folder);
    if (record === undefined) return undefined;
    const known = connections.get(record.socket);
    if (known !== undefined) return known;
    const opening = openTaskApi(record);
    connections.set(record.socket, opening);
    const forget = (): void => {
      if (connections.get(record.socket) === opening) connections.delete(record.socket);
    };
    opening.then((api) => void api.closed.then(forget), forget);
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
