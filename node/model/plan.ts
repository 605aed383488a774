import type { Change, Controller, Item, Observed, Owned } from './types.ts';

/**
 * The changes that one section needs, as a function of the desired items, the present items, and the items
 * that we made.
 */
export interface Plan {
  readonly changes: readonly Change[];
  /** Items that somebody else made, and that stay as they are. */
  readonly conflicts: readonly { readonly name: string; readonly why: string }[];
  /** Records to write although nothing changes on the node. */
  readonly records: ReadonlyMap<string, Owned>;
  /** Records to drop: the item is gone, or was never ours. */
  readonly forget: readonly string[];
}

interface Known {
  readonly desired: ReadonlyMap<string, Item>;
  readonly observed: ReadonlyMap<string, Observed>;
  readonly owned: ReadonlyMap<string, Owned>;
}

type Step =
  | { readonly change: Change; readonly record?: Owned }
  | { readonly conflict: string; readonly forget?: boolean }
  | { readonly record: Owned }
  | { readonly forget: boolean }
  | undefined;

/**
 * Plans the changes of one section. Deletions come first: they free what a new item may need, such as a
 * subnet.
 */
export function planChanges(
  controller: Pick<Controller, 'foreign' | 'section'>,
  { desired, observed, owned }: Known,
): Plan {
  const changes: Change[] = [];
  const conflicts: { name: string; why: string }[] = [];
  const records = new Map<string, Owned>();
  const forget: string[] = [];
  const take = (name: string, step: Step): void => {
    if (step === undefined) return;
    if ('change' in step) changes.push(step.change);
    if ('conflict' in step) conflicts.push({ name, why: step.conflict });
    if ('record' in step) records.set(name, step.record);
    if ('forget' in step && step.forget) forget.push(name);
  };
  for (const [name, record] of owned)
    if (!desired.has(name)) take(name, stepAway(controller, name, record, observed.get(name)));
  for (const [name, there] of observed)
    if (there.ours === true && !desired.has(name) && !owned.has(name))
      changes.push({
        action: 'delete',
        section: controller.section,
        name,
        from: there.shown,
        drift: false,
      });
  for (const [name, item] of desired)
    take(name, stepTowards(controller, name, item, { there: observed.get(name), record: owned.get(name) }));
  return { changes, conflicts, records, forget };
}

function stepTowards(
  { foreign, section }: Pick<Controller, 'foreign' | 'section'>,
  name: string,
  item: Item,
  { there, record }: { readonly there: Observed | undefined; readonly record: Owned | undefined },
): Step {
  const { fingerprint, visible, shown: to } = item;
  const drift = record?.made === true && record.fingerprint === fingerprint;
  if (there === undefined) return { change: { action: 'create', section, name, to, drift } };
  if (there.foreign !== undefined) return { conflict: there.foreign };
  const isAsAsked = there.visible === visible;
  const update: Change = { action: 'update', section, name, from: there.shown, to, drift };
  if (there.ours === true) {
    if (record?.made === true && record.fingerprint === fingerprint && isAsAsked) return undefined;
    return isAsAsked ? { record: { made: true, fingerprint, visible } } : { change: update };
  }
  if (record === undefined) {
    if (foreign === 'exclusive') return { conflict: notOurs };
    if (foreign === 'shared') return undefined;
    // The original value is known only now, so it is recorded even if it is the desired value.
    const first = { made: true, fingerprint, visible, before: there.visible };
    return isAsAsked ? { record: first } : { change: update, record: first };
  }
  if (!record.made && foreign !== 'restores') {
    if (there.visible === record.visible) return { record: { ...record, made: true } };
    // Somebody else made it between the decision and the creation.
    return foreign === 'exclusive' ? { conflict: notOurs, forget: true } : { forget: true };
  }
  return isAsAsked && record.fingerprint === fingerprint ? undefined : { change: update };
}

function stepAway(
  { foreign, section }: Pick<Controller, 'foreign' | 'section'>,
  name: string,
  record: Owned,
  there: Observed | undefined,
): Step {
  if (there === undefined || (there.foreign !== undefined && there.visible === '')) return { forget: true };
  const { before } = record;
  if (foreign === 'restores') {
    if (before === undefined || before === there.visible) return { forget: true };
    return {
      change: { action: 'delete', section, name, from: there.shown, to: before, before, drift: false },
    };
  }
  if (!record.made && there.ours !== true && there.visible !== record.visible) return { forget: true };
  return { change: { action: 'delete', section, name, from: there.shown, drift: false } };
}

const notOurs =
  'it already exists, and `portcullis node apply` did not make it; remove it, or leave it out of the document';
