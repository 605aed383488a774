import type { Logger } from '../base/log/index.ts';
import type { Database } from '../base/storage/index.ts';
import { isContainerPhase } from './containers/lifecycle.ts';
import type { ContainerRecord } from './containers/record.ts';
import { isSandboxPhase } from './pods/lifecycle.ts';
import type { SandboxRecord } from './pods/record.ts';
import { openRecords } from './state/records.ts';
import type { WatchedRecords } from './state/records.ts';

/** The records of pods and containers. */
export interface DaemonRecords {
  readonly sandboxRecords: WatchedRecords<SandboxRecord>;
  readonly containerRecords: WatchedRecords<ContainerRecord>;
}

/**
 * Reads all records of pods and containers. A damaged record costs its pod or its container, and not the
 * node: it is left out and logged, and the start removes what no record claims.
 * @throws the errors of the database
 */
export async function openDaemonRecords(database: Database, log: Logger): Promise<DaemonRecords> {
  const leftOut = (what: string) => (id: string, why: string) =>
    log.error({ [what]: id, why }, `the record of a ${what} is damaged: the ${what} is removed`);
  const sandboxRecords = await openRecords<SandboxRecord>(database, 'sandbox', {
    problemOf: (record) => problemOf(record, isSandboxPhase(record.phase), sandboxFields),
    leftOut: leftOut('sandbox'),
  });
  const containerRecords = await openRecords<ContainerRecord>(database, 'container', {
    problemOf: (record) =>
      sandboxRecords.get(record.sandboxId ?? '') === undefined
        ? 'its pod has no record'
        : (problemOf(record, isContainerPhase(record.phase), containerFields) ?? problemOfProcesses(record)),
    leftOut: leftOut('container'),
  });
  return { sandboxRecords, containerRecords };
}

type Test = (value: unknown) => boolean;
/** Tests of fields. Every release must have written a field that must not be absent. */
type Fields<T> = Readonly<Partial<Record<keyof T, Test>>>;

const isText: Test = (value) => typeof value === 'string';
const isFlag: Test = (value) => typeof value === 'boolean';
const isNumber: Test = (value) => Number.isSafeInteger(value);
const isList: Test = (value) => Array.isArray(value);
/** Nanoseconds since 1970. */
const isTime: Test = (value) => typeof value === 'string' && /^\d{1,30}$/u.test(value);
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => value instanceof Object;
const isRequest = (value: unknown): value is Readonly<Record<string, unknown>> =>
  isObject(value) && isObject(value['metadata']);
const isContainerRequest: Test = (value) => isRequest(value) && isList(value['mounts']);
const isProcess: Test = (value) =>
  isObject(value) && isNumber(value['pid']) && isText(value['startTime']) && isText(value['bootId']);
const isUser: Test = (value) =>
  isObject(value) && isNumber(value['uid']) && isNumber(value['gid']) && isList(value['additionalGids']);

const sandboxFields: Fields<SandboxRecord> = {
  ...{ config: isRequest, requestDigest: isText, runtimeHandler: isText },
  ...{ cgroupParent: isText, ownedCgroups: isList, createdAt: isTime },
  namespacesDir: (value) => value === undefined || isText(value),
};

const containerFields: Fields<ContainerRecord> = {
  ...{ sandboxId: isText, config: isContainerRequest, requestDigest: isText, runtimeHandler: isText },
  ...{ imageId: isText, imageRef: isText, verdictId: isText, settingsDigest: isText, networkClass: isText },
  ...{ noNewPrivileges: isFlag, logPath: isText, stopSignal: isText, user: isUser, createdAt: isTime },
  ...{ startedAt: isTime, finishedAt: isTime, exitCode: isNumber, reason: isText, message: isText },
  startAnswered: isFlag,
};

/** Returns what every release has written into a record, and this record does not have. */
function problemOf(
  record: object,
  hasPhase: boolean,
  fields: Readonly<Partial<Record<string, Test>>>,
): string | undefined {
  if (!hasPhase) return 'its phase is unknown';
  const values: Readonly<Record<string, unknown>> = { ...record };
  const damaged = Object.keys(fields).find((name) => fields[name]?.(values[name]) === false);
  return damaged === undefined ? undefined : `its ${damaged} is missing or damaged`;
}

const living: ReadonlySet<unknown> = new Set(['created', 'starting', 'running']);

/** The end of a container whose processes are unknown would never be noticed. */
function problemOfProcesses(record: Partial<ContainerRecord>): string | undefined {
  if (!living.has(record.phase) || record.startFailure !== undefined) return undefined;
  return isProcess(record.init) && isProcess(record.monitor) ? undefined : 'its processes are unknown';
}
