import { append } from '../../base/lists/index.ts';
import { parseStrictJson } from '../json/strict-json.ts';
import { tufCanonicalJson } from '../tuf-metadata/canonical.ts';
import { topRoles } from '../tuf-metadata/model.ts';
import type { Dialect, RoleKeys, Signed, TopRole } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import { objectAt } from '../tuf-metadata/reading.ts';
import type { Json } from '../tuf-metadata/reading.ts';
import { rootBody, snapshotBody, targetsBody, timestampBody } from './bodies.ts';
import type { NamedFile } from './bodies.ts';
import { delegatorOf } from './changes.ts';
import { collectionOf } from './collection.ts';
import type { Collection, Standing } from './collection.ts';
import { missingOf, signDraft } from './draft.ts';
import type { Demand, Draft, FindSigner, MissingSignatures, SignedDraft } from './draft.ts';
import { currentVersion } from './publish.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';

/**
 * How long the files of each role are valid, in seconds. A delegated role without an entry uses `targets`.
 */
export type Expiry = Readonly<Record<TopRole, number>> & Readonly<Record<string, number>>;

export interface IssueInput {
  readonly collection: Collection;
  /** The files published in this dialect; empty at first. */
  readonly standing: Standing;
  /** Drafts that other users have signed, partly or completely, by role. */
  readonly pending?: Standing;
  readonly expiry: Expiry;
  /** Roles that are signed again although they did not change. */
  readonly force?: ReadonlySet<string>;
  /** Roles that the service signs. */
  readonly serverManaged?: ReadonlySet<string>;
  readonly signers: FindSigner;
  readonly now: Date;
}

export interface Issued {
  /** New files, in the order in which they must be published. */
  readonly files: Standing;
  /** All files after this issue. */
  readonly standing: Standing;
  /** Empty when every required file is signed. Otherwise nothing of this may be published. */
  readonly missing: readonly MissingSignatures[];
  /**
   * The signatures that delegated roles lack whose files have expired. The rest may be published without
   * them: readers refuse only the names of these roles.
   */
  readonly expired: readonly MissingSignatures[];
  /**
   * Drafts that wait for signatures of other users, by role; and, while any file must wait, the files that
   * are complete: a snapshot that waits names their bytes.
   */
  readonly pending: Standing;
}

/**
 * Creates and signs the files that a collection's state requires: files that changed, files whose keys
 * changed, and files that have expired, expire soon, or expire too late (specification 1.0.34, sections 3
 * and 6.1). Each version increases by one. Pure except for the signers.
 * @throws the errors of the signers
 */
export async function issue(input: IssueInput): Promise<Issued> {
  const { collection, standing: existing, signers, serverManaged = new Set<string>() } = input;
  const { dialect } = collection;
  const all = new Map(existing);
  const files = new Map<string, Buffer>();
  const pending = new Map<string, Buffer>();
  const missing: MissingSignatures[] = [];
  const expired: MissingSignatures[] = [];

  const make = async (role: string, type: TopRole, body: Json, demands: readonly Demand[]): Promise<void> => {
    const former = existing.get(role);
    const need = needOf(input, role, type, body, demands, former);
    if (need === 'none') return;
    const draft = draftOf(input, role, type, body, demands);
    const waiting = input.pending?.get(role);
    const signed = await signDraft(dialect, draft, signers, waiting).catch((thrown: unknown) => {
      if (need === 'must') throw thrown;
      // A file that is only due remains valid for a while, and the rest does not wait for an expired one. So
      // a key that cannot be opened today is no failure.
      return need === 'due'
        ? undefined
        : signDraft(dialect, draft, () => Promise.resolve(undefined), waiting);
    });
    if (signed === undefined) return;
    const { bytes, missing: lacking } = (await signedAfresh(input, draft, body, signed)) ?? signed;
    if (lacking.length === 0) {
      all.set(role, bytes);
      files.set(role, bytes);
    } else if (need !== 'due') {
      append(need === 'must' ? missing : expired, lacking);
      pending.set(role, bytes);
    }
  };

  await make('root', 'root', rootBody(collection), rootDemands(collection, existing.get('root')));
  for (const [name, authored] of shallowFirst(collection)) {
    // Notary's clients skip a delegation that has published nothing.
    const unborn =
      dialect === 'notary' &&
      name !== 'targets' &&
      !existing.has(name) &&
      authored.targets.size === 0 &&
      authored.delegations.length === 0;
    if (!unborn) await make(name, 'targets', targetsBody(dialect, authored), [roleDemand(collection, name)]);
  }
  const unfinished = (): Issued => {
    for (const [role, bytes] of files) pending.set(role, bytes);
    return { files: new Map(), standing: existing, missing, expired, pending };
  };
  if (missing.length > 0) return unfinished();

  if (!serverManaged.has('snapshot')) {
    const listed = [...all].filter(
      ([role]) => role !== 'snapshot' && role !== 'timestamp' && (dialect === 'notary' || role !== 'root'),
    );
    const named = new Map(listed.map(([role, bytes]) => [role, namedFile(dialect, role, bytes)] as const));
    const former = existing.get('snapshot');
    const before = former === undefined ? {} : objectAt(signedOf(former)['meta'], 'meta');
    const body = snapshotBody(dialect, named, before);
    await make('snapshot', 'snapshot', body, [topDemand(collection, 'snapshot')]);
  }
  const snapshot = all.get('snapshot');
  if (!serverManaged.has('timestamp') && snapshot !== undefined && missing.length === 0)
    await make('timestamp', 'timestamp', timestampBody(dialect, namedFile(dialect, 'snapshot', snapshot)), [
      topDemand(collection, 'timestamp'),
    ]);
  return missing.length > 0 ? unfinished() : { files, standing: all, missing, expired, pending };
}

/**
 * Returns a complete timestamp that was signed earlier again, if its keys are available here: it may have
 * waited for files of the other dialect until it has almost expired, and no file names its bytes.
 */
async function signedAfresh(
  input: IssueInput,
  { role, type, demands }: Draft,
  body: Json,
  { missing }: SignedDraft,
): Promise<SignedDraft | undefined> {
  if (role !== 'timestamp' || missing.length > 0 || input.pending?.has(role) !== true) return undefined;
  const draft = draftOf({ ...input, pending: new Map() }, role, type, body, demands);
  const signed = await signDraft(input.collection.dialect, draft, input.signers).catch(() => undefined);
  return signed?.missing.length === 0 ? signed : undefined;
}

/**
 * Returns whether a file must be signed again. `due`: it should be renewed, but is kept when no signer is
 * available here. `expired`: the file of a delegated role, whose signers may be others, must be renewed, but
 * the rest does not wait for that.
 */
function needOf(
  { collection: { dialect }, expiry, force, now }: IssueInput,
  role: string,
  type: TopRole,
  body: Json,
  demands: readonly Demand[],
  former: Buffer | undefined,
): 'none' | 'due' | 'expired' | 'must' {
  if (former === undefined || force?.has(role) === true) return 'must';
  const { signed } = readMetadata(dialect, type, former);
  if (!sameBody(former, body)) return 'must';
  if (missingOf(dialect, { role, type, demands }, former).length > 0) return 'must';
  if (signed.expires <= now.getTime()) return role === type ? 'must' : 'expired';
  const left = signed.expires - now.getTime();
  const whole = lifetime(expiry, role, type) * 1000;
  // A role that is signed every day is renewed at half its lifetime. A role that people sign is renewed when
  // a quarter is left.
  if (type !== 'snapshot' && type !== 'timestamp') return left < whole / 4 ? 'due' : 'none';
  // Its lifetime was longer, or the clock was ahead: who keeps the file can show it as current for too long.
  return left < whole / 2 || left > whole + clockDifferenceMs ? 'due' : 'none';
}

/** Clocks of two owners may differ by this much. */
export const clockDifferenceMs = 3_600_000;

const lifetime = (expiry: Expiry, role: string, type: TopRole): number => expiry[role] ?? expiry[type];

/** Returns whether a file has this content, apart from version and expiry. */
export function sameBody(former: Buffer, body: Json): boolean {
  const { version: _version, expires: _expires, ...rest } = signedOf(former);
  return tufCanonicalJson(rest).equals(tufCanonicalJson(body));
}

const signedOf = (bytes: Buffer): Json =>
  objectAt(objectAt(parseStrictJson(bytes), 'the file')['signed'], 'signed');

function draftOf(
  { collection: { dialect }, standing: existing, pending, expiry, now }: IssueInput,
  role: string,
  type: TopRole,
  body: Json,
  demands: readonly Demand[],
): Draft {
  const version = currentVersion(dialect, existing, role) + 1;
  const waiting = pending?.get(role);
  // A draft that other users have signed is taken unchanged when it equals the draft that would be signed
  // now.
  if (
    waiting !== undefined &&
    isThisDraft(readMetadata(dialect, type, waiting).signed, version, now) &&
    sameBody(waiting, body)
  )
    return { role, type, version, signed: signedOf(waiting), demands };
  const expires = new Date(now.getTime() + lifetime(expiry, role, type) * 1000)
    .toISOString()
    .replace(/\.\d+Z$/u, 'Z');
  return { role, type, version, signed: { ...body, version, expires }, demands };
}

const isThisDraft = (signed: Signed, version: number, now: Date): boolean =>
  signed.version === version && signed.expires > now.getTime();

function namedFile(dialect: Dialect, role: string, bytes: Buffer): NamedFile {
  const type = (topRoles as readonly string[]).includes(role) ? (role as TopRole) : 'targets';
  return { version: readMetadata(dialect, type, bytes).signed.version, bytes };
}

/** Returns the signatures that the next file of a role needs. */
export function demandsOf(collection: Collection, role: string, existing: Standing): Demand[] {
  if (role === 'root') return rootDemands(collection, existing.get('root'));
  return role === 'snapshot' || role === 'timestamp'
    ? [topDemand(collection, role)]
    : [roleDemand(collection, role)];
}

/** Adds the signatures of available keys to a draft that waits for signatures. */
export async function addSignatures(
  collection: Collection,
  existing: Standing,
  waiting: { readonly role: string; readonly bytes: Buffer },
  signers: FindSigner,
): Promise<SignedDraft> {
  const { role, bytes } = waiting;
  const type = (topRoles as readonly string[]).includes(role) ? (role as TopRole) : 'targets';
  const { version } = readMetadata(collection.dialect, type, bytes).signed;
  const draft = {
    role,
    type,
    version,
    signed: signedOf(bytes),
    demands: demandsOf(collection, role, existing),
  };
  return signDraft(collection.dialect, draft, signers, bytes);
}

/** Section 6.1: a new root is signed by the keys of the previous root and by its own keys. */
function rootDemands(collection: Collection, former: Buffer | undefined): Demand[] {
  const own = topDemand(collection, 'root');
  if (former === undefined) return [own];
  const before = topDemand(collectionOf(collection.dialect, new Map([['root', former]])), 'root');
  return [
    { ...before, by: 'the root before it' },
    { ...own, by: 'itself' },
  ];
}

function topDemand({ keys, roles }: Collection, role: TopRole): Demand {
  return demandOf('the root', keys, roles[role]);
}

function roleDemand(collection: Collection, name: string): Demand {
  if (name === 'targets') return topDemand(collection, 'targets');
  const delegator = delegatorOf(collection, name) ?? '';
  const authored = collection.targets.get(delegator);
  const role = authored?.delegations.find((one) => one.name === name);
  return demandOf(
    delegator,
    authored?.keys ?? new Map<string, ListedKey>(),
    role ?? { keyids: [], threshold: 1 },
  );
}

function demandOf(by: string, keys: ReadonlyMap<string, ListedKey>, { keyids, threshold }: RoleKeys): Demand {
  return { by, keys: keyids.map((id) => keys.get(id)).filter((key) => key !== undefined), threshold };
}

/**
 * Returns delegating roles before the roles that they delegate to. Roles without a delegation are left
 * unchanged.
 */
function shallowFirst({ targets }: Collection): [string, NonNullable<ReturnType<typeof targets.get>>][] {
  const names = new Set(['targets']);
  for (const name of names) for (const role of targets.get(name)?.delegations ?? []) names.add(role.name);
  return [...names].flatMap((name) => {
    const authored = targets.get(name);
    return authored === undefined ? [] : [[name, authored] as [string, typeof authored]];
  });
}
