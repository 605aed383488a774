import type { ContainerPhase, ContainerRecord } from '../../../runtime/containers/record.ts';
import { ContainerEventType } from '../../../runtime/cri/contract/contract.types.ts';
import { containerEvents, sandboxEvents } from '../../../runtime/events/transitions.ts';
import type { SandboxPhase, SandboxRecord } from '../../../runtime/pods/record.ts';
import type { Keyed, RecordChange, WatchedRecords } from '../../../runtime/state/records.ts';
import { hold } from '../engine/invariants.ts';
import type { Report } from '../engine/history-events.ts';

/**
 * The legal transitions, specified independently of the product's own tables, so that a change of those is
 * noticed.
 */
const containerSteps: Readonly<Record<ContainerPhase, readonly (ContainerPhase | 'gone')[]>> = {
  // A container that was never created, and goes with its pod.
  creating: ['created', 'removing', 'gone'],
  created: ['starting', 'exited', 'removing', 'gone'],
  starting: ['running', 'exited', 'removing'],
  running: ['exited', 'removing'],
  exited: ['removing'],
  removing: ['gone'],
};
const sandboxSteps: Readonly<Record<SandboxPhase, readonly (SandboxPhase | 'gone')[]>> = {
  creating: ['ready', 'stopping', 'gone'],
  ready: ['stopping'],
  stopping: ['stopped'],
  stopped: ['gone'],
};

const { CONTAINER_CREATED_EVENT, CONTAINER_STARTED_EVENT, CONTAINER_STOPPED_EVENT, CONTAINER_DELETED_EVENT } =
  ContainerEventType;
const order = [
  CONTAINER_CREATED_EVENT,
  CONTAINER_STARTED_EVENT,
  CONTAINER_STOPPED_EVENT,
  CONTAINER_DELETED_EVENT,
];

/**
 * Checks every durable change of one life's records, in the turn in which it is seen. Calls `broken` with the
 * first illegal change.
 */
export function observeRecords(parts: {
  readonly sandboxes: WatchedRecords<SandboxRecord>;
  readonly containers: WatchedRecords<ContainerRecord>;
  readonly report: Report;
  readonly broken: (cause: unknown) => void;
}): void {
  const { sandboxes, containers, report, broken } = parts;
  /** The last event of each id in this life: a watcher's list and its events begin again with each life. */
  const last = new Map<string, number>();
  const inOrder = (id: string, events: readonly ContainerEventType[]): void => {
    for (const event of events) {
      const rank = order.indexOf(event);
      hold(
        'event order',
        rank > (last.get(id) ?? -1),
        `${id}: event ${rank} after ${last.get(id) ?? 'none'}`,
      );
      last.set(id, rank);
    }
  };
  const guarded =
    <T extends Keyed>(check: (change: RecordChange<T>) => void) =>
    (change: RecordChange<T>): void => {
      try {
        check(change);
      } catch (cause) {
        broken(cause);
      }
    };
  containers.onChange(
    guarded((change) => {
      const { before, after } = change;
      const id = (after ?? before)?.id ?? '';
      const [from, to] = [before?.phase, after?.phase ?? 'gone'] as const;
      if (from !== to) report(`  ${id}: ${from ?? 'nothing'} → ${to}`);
      const steps = from === undefined ? ['creating'] : [...containerSteps[from], from];
      hold('legal states', steps.includes(to), `container ${id}: ${from ?? 'nothing'} → ${to}`);
      if (before?.phase === 'exited' && after?.phase === 'exited')
        hold(
          'legal states',
          before.exitCode === after.exitCode && before.finishedAt === after.finishedAt,
          `${id} ended twice`,
        );
      if (after?.phase === 'exited' && after.startedAt !== '0')
        hold(
          'event order',
          BigInt(after.finishedAt) >= BigInt(after.startedAt),
          `${id} ended before its start`,
        );
      inOrder(id, containerEvents(change));
    }),
  );
  sandboxes.onChange(
    guarded((change) => {
      const { before, after } = change;
      const id = (after ?? before)?.id ?? '';
      const [from, to] = [before?.phase, after?.phase ?? 'gone'] as const;
      if (from !== to) report(`  ${id}: ${from ?? 'nothing'} → ${to}`);
      const steps = from === undefined ? ['creating'] : [...sandboxSteps[from], from];
      hold('legal states', steps.includes(to), `sandbox ${id}: ${from ?? 'nothing'} → ${to}`);
      inOrder(id, sandboxEvents(change));
    }),
  );
}

/** A name belongs to one record. */
export function checkNames(records: readonly Keyed[]): void {
  const names = records.map(({ name }) => name);
  hold(
    'name reservation',
    new Set(names).size === names.length,
    () => `two records of one name: ${names.join(', ')}`,
  );
}
