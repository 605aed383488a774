/** The invariants that must hold whatever fails. Each has a name, so that a report names the broken one. */
export const invariants = {
  idempotence: 'a request that is repeated succeeds, and answers as the first would have',
  'legal states':
    'records change only along the transitions of sandboxes and containers, and what ended stays as it ended',
  'name reservation': 'a name belongs to one record, and is free again when that is removed',
  'event order':
    'a watcher sees created, started, stopped, deleted in this order, each at most once; no end lies before its start',
  'verdict before use': 'nothing runs or is mounted without an admitting verdict in the log',
  'nothing left':
    'what was removed leaves nothing behind: no process, mount, link, address, folder, file or row',
  'everything ends':
    'every request is answered, and succeeds once faults cease; every end reaches its record without a request',
  'true exits': 'an exit code is that of the process, or says that nobody knows it',
  'lasting answers': 'what was answered is still true after a kill, and after a loss of power',
  'whole images':
    'every image that is reported complete, and every layer that is mounted, has all of its files',
  'true attachments': 'a ready pod has its link, with the address that its record says and no other pod has',
  'true ids': 'a tree shows the ids that its own container was given, and none that were given back',
  'true services':
    'the kernel balances exactly the services that were declared, over exactly the backends that take connections',
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
