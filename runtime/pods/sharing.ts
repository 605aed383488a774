import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Records } from '../state/records.ts';
import type { SandboxRecord } from './record.ts';

/** The side effects of a shared PID namespace. Each effect succeeds if its work is already done. */
export interface InfraEffects {
  /** Whether each pod of this handler has such a process: its shim. */
  isRequired(runtimeHandler: string): boolean;
  /** Starts the process that holds the pod's PID namespace. The intent is recorded before the call. */
  start(record: SandboxRecord): Promise<ProcessIdentity>;
  /**
   * Ends the process, even one whose start a killed daemon did not finish, and removes everything that it
   * needed. The kernel ends the remaining processes in its namespace.
   */
  end(record: SandboxRecord): Promise<void>;
  isAlive(process: ProcessIdentity): boolean;
  /** Reports the end of the process once, even if it ended before. The returned function stops the watch. */
  watch(process: ProcessIdentity, report: () => void): () => void;
}

/** The steps around a pod's shared PID namespace, in their order; all under the sandbox's lock. */
export interface Sharing {
  /** Returns the record of a ready pod with a live process; starts a process only if there is none. */
  share(record: SandboxRecord): Promise<SandboxRecord>;
  isRequired(runtimeHandler: string): boolean;
  /** For a pod that is being created, with the intent on record. */
  begin(record: SandboxRecord): Promise<NonNullable<SandboxRecord['infra']>>;
  end(record: SandboxRecord): Promise<void>;
  watch(record: SandboxRecord): void;
  /** Whether the record's process, once started, has ended. */
  isLost(record: SandboxRecord): boolean;
  /** After a crash, for a ready pod: undoes an unfinished start, or continues to watch. */
  recover(record: SandboxRecord): Promise<void>;
  close(): void;
}

export function createSharing(parts: {
  readonly records: Records<SandboxRecord>;
  readonly effects: InfraEffects;
  readonly log: Logger;
  /** Called when a process ended unexpectedly, and with it every process of its namespace. */
  readonly lost: (sandboxId: string) => void;
}): Sharing {
  const { records, effects, log } = parts;
  const watches = new Map<string, () => void>();
  const unwatch = (id: string): void => {
    watches.get(id)?.();
    watches.delete(id);
  };
  const watch = (record: SandboxRecord): void => {
    unwatch(record.id);
    if (record.infra?.process === undefined) return;
    const stop = effects.watch(record.infra.process, () => {
      watches.delete(record.id);
      parts.lost(record.id);
    });
    watches.set(record.id, stop);
  };
  const end = async (record: SandboxRecord): Promise<void> => {
    unwatch(record.id);
    if (record.infra !== undefined) await effects.end(record);
  };
  return {
    share: async (record) => {
      if (record.infra?.process !== undefined) return record;
      // An earlier attempt could not clean up.
      if (record.infra !== undefined) await effects.end(record);
      const intent: SandboxRecord = { ...record, infra: {} };
      await records.put(intent);
      try {
        const shared: SandboxRecord = { ...intent, infra: { process: await effects.start(intent) } };
        await records.put(shared);
        watch(shared);
        return shared;
      } catch (cause) {
        await effects.end(intent).then(
          () => records.put(withoutInfra(intent)),
          (second: unknown) =>
            log.warn(
              { sandbox: record.id, cause: reasonOf(second) },
              'a partly created shared PID namespace remains until the next start removes it',
            ),
        );
        throw cause;
      }
    },
    isRequired: effects.isRequired,
    begin: async (record) => ({ process: await effects.start(record) }),
    end,
    watch,
    isLost: ({ infra }) => infra?.process !== undefined && !effects.isAlive(infra.process),
    recover: async (record) => {
      if (record.infra === undefined) return;
      if (record.infra.process !== undefined) return watch(record);
      await effects.end(record);
      await records.put(withoutInfra(record));
    },
    close: () => {
      for (const id of [...watches.keys()]) unwatch(id);
    },
  };
}

/** Returns the record of a pod whose containers share no PID namespace, or no longer share one. */
export function withoutInfra({ infra: _ended, ...record }: SandboxRecord): SandboxRecord {
  return record;
}
