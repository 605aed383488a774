/** The invariants that must hold whatever fails. Each has a name, so that a report names the broken one. */
export const invariants = {
  idempotence: 'a repeated request succeeds, with the answer that the first request would have got',
  'legal states':
    'records change only along the transitions of sandboxes and containers, and the record of an end does not change',
  'name reservation': 'a name belongs to one record, and is free again when the record is removed',
  'event order':
    'a watcher receives created, started, stopped, deleted in this order, each at most once; no end is before its start',
  'verdict before use': 'nothing runs or is mounted without an admitting verdict in the log',
  'nothing left':
    'a removed object leaves nothing behind: no process, mount, link, address, folder, file or row',
  'everything ends':
    'every request is answered, and succeeds once faults stop; every end is recorded without a request',
  'true exits': 'an exit code is that of the process, or is reported as unknown',
  'lasting answers': 'every answer is still true after a kill, and after a loss of power',
  'whole images':
    'every image that is reported complete, and every layer that is mounted, has all of its files',
  'true attachments': 'a ready pod has its link, with the address in its record, which no other pod has',
  'true ids': 'a tree shows the ids of its own container, and no ids that were released',
  'true services':
    'the kernel balances exactly the declared services, over exactly the backends that accept connections',
} as const;

export type InvariantName = keyof typeof invariants;

/** One of {@link invariants} does not hold. */
export class Broken extends Error {
  readonly invariant: InvariantName;

  constructor(invariant: InvariantName, found: string) {
    super(`${invariant} (${invariants[invariant]}): ${found}`);
    this.invariant = invariant;
  }
}

/** @throws Broken unless `holds` */
export function hold(
  invariant: InvariantName,
  holds: boolean,
  found: string | (() => string),
): asserts holds {
  if (!holds) throw new Broken(invariant, typeof found === 'string' ? found : found());
}
