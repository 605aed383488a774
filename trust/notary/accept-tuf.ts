import { reasonOf } from '../../base/errors/index.ts';
import {
  keptSnapshot,
  keptTargets,
  keptTimestamp,
  nextRoot,
  refuseExpiredRoot,
  signedSnapshot,
  trustRoot,
  verifiedTargets,
  withSnapshot,
  withTimestamp,
} from '../tuf/trusted-set.ts';
import type { FileMeta } from '../tuf-metadata/model.ts';
import type { TrustedSet } from '../tuf/trusted-set.ts';
import type { AcceptInput, NewFile } from './accept-input.ts';
import { readHeads } from './heads.ts';
import { nextTufSnapshot, nextTufTimestamp } from './online-files.ts';
import { heldKeys } from './online-keys.ts';
import { invalidUpdate, isRefusal, refuse } from './refusal.ts';
import type { Refusal, UpdateFault } from './refusal.ts';
import { isTufRole, namesByPrefix, shallowFirst } from './roles.ts';

/**
 * Accepts an update in TUF's own dialect when a client that trusts the stored files would accept it. The
 * files that would be current afterwards, including those that the service signs, are checked by the client's
 * rules (TUF specification 1.0.34, section 5).
 */
export function acceptTuf(input: AcceptInput): readonly NewFile[] | Refusal {
  const read = readHeads(input.uploads, isTufRole);
  if (isRefusal(read)) return read;
  const posted = read.map(({ role, version, bytes }): NewFile => ({ role, version, bytes }));
  const now = new Date(input.now);
  const { stored } = input;
  const heads = withoutStanding(posted, stored);

  const begun = attempt('ErrBadRoot', () => chainOf(heads, stored.get('root'), now));
  if (isRefusal(begun)) return begun;
  // Previous files are binding only while their keys are: new keys recover from a fast-forward attack.
  let set = begun.set;
  const [formerTimestamp, formerSnapshot] = [stored.get('timestamp'), stored.get('snapshot')];
  if (formerTimestamp !== undefined) set = keptTimestamp(set, formerTimestamp);
  if (formerSnapshot !== undefined) set = keptSnapshot(set, formerSnapshot);

  const uploads = new Map(heads.filter(({ role }) => role !== 'root').map((one) => [one.role, one]));
  const old = [...uploads.values()].find(
    ({ role, version }) => version <= standingVersion(set, role, stored),
  );
  if (old !== undefined) return refuse('VERSION', {});
  const uploadedTargets = [...uploads.values()].filter(
    ({ role }) => role !== 'snapshot' && role !== 'timestamp',
  );

  const snapshot = attempt('ErrBadSnapshot', () =>
    snapshotOf(input, set, uploads.get('snapshot'), uploadedTargets),
  );
  if (isRefusal(snapshot)) return snapshot;
  const timestamp = timestampOf(input, set, uploads.get('timestamp'), snapshot);
  if (isRefusal(timestamp)) return timestamp;

  const signed = attempt('ErrBadSnapshot', () =>
    withSnapshot(withTimestamp(set, timestamp.bytes, now), snapshot.bytes, now),
  );
  if (isRefusal(signed)) return signed;
  const judged = attempt('ErrBadTargets', () => judgeTargets(signed, uploads, stored, now));
  if (isRefusal(judged)) return judged;
  const made = [snapshot, timestamp].filter(({ role, bytes }) => stored.get(role)?.equals(bytes) !== true);
  return [...begun.roots, ...uploadedTargets.sort((a, b) => shallowFirst(a.role, b.role)), ...made];
}

/**
 * Drops the posted files that are already current, and roots older than the current root: a publisher may
 * post all its files.
 */
function withoutStanding(posted: readonly NewFile[], stored: ReadonlyMap<string, Buffer>): NewFile[] {
  const root = stored.get('root');
  const same =
    root === undefined ? undefined : posted.find(({ role, bytes }) => role === 'root' && bytes.equals(root));
  return posted.filter(({ role, version, bytes }) =>
    role === 'root' && same !== undefined ? version > same.version : stored.get(role)?.equals(bytes) !== true,
  );
}

function attempt<T>(name: UpdateFault, body: () => T | Refusal): T | Refusal {
  try {
    return body();
  } catch (thrown) {
    return invalidUpdate(name, reasonOf(thrown));
  }
}

function chainOf(
  heads: readonly NewFile[],
  stored: Buffer | undefined,
  now: Date,
): { readonly set: TrustedSet; readonly roots: readonly NewFile[] } | Refusal {
  const roots = heads.filter(({ role }) => role === 'root').sort((a, b) => a.version - b.version);
  let set = stored === undefined ? undefined : trustRoot('tuf', stored);
  for (const { bytes, version } of roots) {
    if (set !== undefined && version <= set.root.signed.version) return refuse('VERSION', {});
    if (set === undefined && version !== 1)
      throw new Error(`the first root must have version 1, not ${version}`);
    set = set === undefined ? trustRoot('tuf', bytes) : nextRoot(set, bytes);
  }
  if (set === undefined)
    return invalidUpdate('ErrValidation', 'no pre-existing root and no root provided in update.');
  refuseExpiredRoot(set, now);
  return { set, roots };
}

/** Returns the version that a new file of the role must exceed; 0 when there is no current file. */
function standingVersion(set: TrustedSet, role: string, stored: ReadonlyMap<string, Buffer>): number {
  if (role === 'timestamp') return set.timestamp?.signed.version ?? 0;
  if (role === 'snapshot') return set.snapshot?.signed.version ?? 0;
  const named = set.snapshot?.signed.meta.get(role)?.version;
  if (named !== undefined) return named;
  const bytes = set.snapshot === undefined ? undefined : stored.get(role);
  return bytes === undefined ? 0 : (keptTargets('tuf', bytes)?.signed.version ?? 0);
}

function snapshotOf(
  { stored, online, now }: AcceptInput,
  set: TrustedSet,
  given: NewFile | undefined,
  targets: readonly NewFile[],
): NewFile | Refusal {
  if (given !== undefined) return given;
  const { roles, keys } = set.root.signed;
  const held = heldKeys(roles.snapshot, keys, online);
  const former = stored.get('snapshot');
  // A root that names new keys for the timestamp only leaves the snapshot as it is.
  const existing = set.snapshot ?? (former === undefined ? undefined : signedSnapshot(set, former));
  if (held.length < roles.snapshot.threshold) {
    if (existing !== undefined && targets.length === 0)
      return { role: 'snapshot', version: existing.signed.version, bytes: existing.bytes };
    const why =
      'no snapshot was included in update and server does not hold current snapshot key for repository';
    return invalidUpdate('ErrBadHierarchy', why, 'snapshot');
  }
  return nextTufSnapshot({ former, files: targets, held, now });
}

function timestampOf(
  { stored, online, now }: AcceptInput,
  set: TrustedSet,
  given: NewFile | undefined,
  snapshot: NewFile,
): NewFile | Refusal {
  if (given !== undefined) return given;
  const { roles, keys } = set.root.signed;
  const held = heldKeys(roles.timestamp, keys, online);
  if (held.length < roles.timestamp.threshold) {
    const existing = set.timestamp;
    if (existing !== undefined && set.snapshot?.bytes === snapshot.bytes)
      return { role: 'timestamp', version: existing.signed.version, bytes: existing.bytes };
    const why =
      'no timestamp was included in update and server does not hold current timestamp key for repository';
    return invalidUpdate('ErrBadHierarchy', why, 'timestamp');
  }
  return nextTufTimestamp({ former: stored.get('timestamp'), snapshot, held, now });
}

/** Before every expiry. */
const always = new Date(0);

/**
 * Checks that every role that is delegated to and that the snapshot names exists and is signed, and that
 * every posted role is delegated to. No client reads a role that the snapshot names after its delegation was
 * removed, and a service that got the collection later does not have its file. A stored delegated role may
 * have expired: clients refuse only its own names, and its signers may be others than the publisher.
 */
function judgeTargets(
  begun: TrustedSet,
  uploads: ReadonlyMap<string, NewFile>,
  stored: ReadonlyMap<string, Buffer>,
  now: Date,
): TrustedSet {
  // One map that grows: a copy for each of thousands of roles would take quadratic time.
  const targets = new Map(begun.targets);
  const set: TrustedSet = { ...begun, targets };
  const named = set.snapshot?.signed.meta ?? new Map<string, FileMeta>();
  const binsOf = namesByPrefix([...named.keys()]);
  const bytesOf = (role: string): Buffer => {
    const bytes = uploads.get(role)?.bytes ?? stored.get(role);
    if (bytes === undefined)
      throw new Error(`the snapshot names ${role}, which is not in the update and not in the collection`);
    return bytes;
  };
  const queue = [{ name: 'targets', delegator: 'root' }];
  const seen = new Set<string>();
  // The list grows during the loop.
  for (const { name, delegator } of queue) {
    const edge = `${delegator}\n${name}`;
    if (seen.has(edge)) continue;
    seen.add(edge);
    const moment = name === 'targets' || uploads.has(name) ? now : always;
    const judged = verifiedTargets(set, { name, delegator, bytes: bytesOf(name) }, moment);
    targets.set(name, judged);
    const { delegations } = judged.signed;
    const succinct = delegations?.succinct;
    const children =
      succinct === undefined
        ? (delegations?.roles ?? []).map((role) => role.name)
        : binsOf(`${succinct.namePrefix}-`);
    for (const child of children) if (named.has(child)) queue.push({ name: child, delegator: name });
  }
  for (const role of uploads.keys()) {
    if (role === 'snapshot' || role === 'timestamp' || set.targets.has(role)) continue;
    throw new Error(`role does not exist: ${role}`);
  }
  return set;
}
