import { createHash } from 'node:crypto';
import { attempt, reasonOf } from '../../base/errors/index.ts';
import { tufFailure } from './failure.ts';
import { mostHashedBytes } from '../tuf-metadata/limits.ts';
import { signedBy } from '../tuf-metadata/keys.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type {
  Dialect,
  FileMeta,
  Metadata,
  RoleKeys,
  Root,
  Signed,
  Snapshot,
  Targets,
  Timestamp,
  TopRole,
  TufKey,
} from '../tuf-metadata/model.ts';

/**
 * The trusted metadata at one time of an update, and the rules by which it grows (TUF specification 1.0.34,
 * sections 5.3 to 5.6). Pure: each step takes bytes and returns a new set, or throws why they are not
 * trusted; in that case nothing has changed.
 */
export interface TrustedSet {
  readonly dialect: Dialect;
  readonly root: Metadata<Root>;
  readonly timestamp?: Metadata<Timestamp>;
  readonly snapshot?: Metadata<Snapshot>;
  /** By role name: `targets` and the delegated roles loaded so far. */
  readonly targets: ReadonlyMap<string, Metadata<Targets>>;
}

/**
 * Starts with a root that is already trusted. Its expiry does not matter yet.
 * @throws TRUST_TUF_MALFORMED · TRUST_TUF_UNSIGNED
 */
export function trustRoot(dialect: Dialect, bytes: Buffer): TrustedSet {
  const root = read(dialect, 'root', 'root', bytes);
  verifyRole('root', root, root.signed.keys, root.signed.roles.root);
  return { dialect, root, targets: new Map() };
}

/**
 * Adds the next root, signed by the keys of the previous root and by its own (section 5.3).
 * @throws TRUST_TUF_ROLLBACK and the errors of trustRoot
 */
export function nextRoot(set: TrustedSet, bytes: Buffer): TrustedSet {
  const next = read(set.dialect, 'root', 'root', bytes);
  const { keys, roles, version } = set.root.signed;
  verifyRole('root', next, keys, roles.root, `the root of version ${version}`);
  if (next.signed.version !== version + 1) {
    throw tufFailure(
      'TRUST_TUF_ROLLBACK',
      'root',
      `version ${next.signed.version} was served instead of version ${version + 1}`,
    );
  }
  verifyRole('root', next, next.signed.keys, next.signed.roles.root, 'itself');
  return { dialect: set.dialect, root: next, targets: new Map() };
}

/** Refuses an expired root (section 5.3.10). @throws TRUST_TUF_EXPIRED */
export function refuseExpiredRoot({ root }: TrustedSet, now: Date): void {
  refuseExpired('root', root.signed, now);
}

/**
 * Adds a timestamp (section 5.4). The same version again changes nothing.
 * @throws TRUST_TUF_UNSIGNED · TRUST_TUF_ROLLBACK · TRUST_TUF_EXPIRED · TRUST_TUF_MALFORMED
 */
export function withTimestamp(set: TrustedSet, bytes: Buffer, now: Date): TrustedSet {
  const next = read(set.dialect, 'timestamp', 'timestamp', bytes);
  verifyTop(set, 'timestamp', next);
  const former = set.timestamp?.signed;
  if (former !== undefined) {
    refuseOlder('timestamp', next.signed.version, former.version);
    if (next.signed.version === former.version) {
      refuseExpired('timestamp', former, now);
      return set;
    }
    refuseOlder(
      'snapshot',
      next.signed.snapshot.version ?? 0,
      former.snapshot.version ?? 0,
      'the timestamp names version',
    );
  }
  refuseExpired('timestamp', next.signed, now);
  return { ...set, timestamp: next };
}

/**
 * Adds a snapshot (section 5.5).
 * @throws TRUST_TUF_WRONG_LENGTH · TRUST_TUF_WRONG_HASH · TRUST_TUF_UNSIGNED · TRUST_TUF_MIX_AND_MATCH ·
 * TRUST_TUF_ROLLBACK · TRUST_TUF_EXPIRED · TRUST_TUF_MALFORMED
 */
export function withSnapshot(set: TrustedSet, bytes: Buffer, now: Date): TrustedSet {
  const { snapshot: meta } = present(set.timestamp, 'timestamp').signed;
  verifyFile('snapshot', bytes, meta);
  const next = read(set.dialect, 'snapshot', 'snapshot', bytes);
  verifyTop(set, 'snapshot', next);
  sameVersion('snapshot', next.signed, meta, 'timestamp');
  const former = set.snapshot?.signed;
  if (former !== undefined) {
    refuseOlder('snapshot', next.signed.version, former.version);
    for (const [name, known] of former.meta) {
      const named = next.signed.meta.get(name);
      // Notary's snapshot drops a role together with its delegation. When a role that is still delegated to
      // is missing, its lookup detects that.
      if (named === undefined && set.dialect === 'notary' && name !== 'targets') continue;
      if (named === undefined)
        throw tufFailure(
          'TRUST_TUF_ROLLBACK',
          'snapshot',
          `it no longer names ${name}, which the trusted one names`,
        );
      refuseOlder(name, named.version ?? 0, known.version ?? 0, 'the snapshot names version');
    }
  }
  refuseExpired('snapshot', next.signed, now);
  const own = next.signed.meta.get('root');
  // Notary's snapshot lists the root as well: both must belong together.
  if (set.dialect === 'notary' && own !== undefined && mismatch(set.root.bytes, own) !== undefined) {
    throw tufFailure(
      'TRUST_TUF_MIX_AND_MATCH',
      'root',
      `it is not the root that the snapshot of version ${next.signed.version} was signed with`,
    );
  }
  return { ...set, snapshot: next };
}

/**
 * Adds targets, or a role that a trusted role delegates to (section 5.6).
 * @param former the trusted metadata of this role before this update, for a snapshot that states no versions
 * @throws the errors of withSnapshot, and TRUST_TUF_NOT_DELEGATED
 */
export function withTargets(
  set: TrustedSet,
  input: {
    readonly name: string;
    readonly delegator: string;
    readonly bytes: Buffer;
    readonly former?: Metadata<Targets>;
  },
  now: Date,
): TrustedSet {
  return { ...set, targets: new Map(set.targets).set(input.name, verifiedTargets(set, input, now)) };
}

/**
 * Returns the metadata that {@link withTargets} adds, for a caller that adds thousands of roles without
 * copying the set for each. @throws as `withTargets`
 */
export function verifiedTargets(
  set: TrustedSet,
  input: Parameters<typeof withTargets>[1],
  now: Date,
): Metadata<Targets> {
  const { name, delegator, bytes, former } = input;
  const meta = fileMetaOf(set, name);
  verifyFile(name, bytes, meta);
  const next = read(set.dialect, 'targets', name, bytes);
  const { keys, role } = signersOf(set, name, delegator);
  verifyRole(name, next, keys, role, delegator === 'root' ? 'the root' : delegator);
  sameVersion(name, next.signed, meta, 'snapshot');
  // A snapshot that states versions decides: new snapshot keys recover from a fast-forward attack.
  if (meta.version === undefined && former !== undefined && isSigned(former, keys, role))
    refuseOlder(name, next.signed.version, former.signed.version);
  refuseExpired(name, next.signed, now);
  return next;
}

/**
 * Returns what the trusted snapshot states about the file of a role.
 * @throws TRUST_TUF_MIX_AND_MATCH when the snapshot does not list it
 */
export function fileMetaOf(set: TrustedSet, name: string): FileMeta {
  const meta = present(set.snapshot, 'snapshot').signed.meta.get(name);
  if (meta === undefined) throw tufFailure('TRUST_TUF_MIX_AND_MATCH', name, 'the snapshot does not name it');
  return meta;
}

function signersOf(
  set: TrustedSet,
  name: string,
  delegator: string,
): { keys: ReadonlyMap<string, TufKey>; role: RoleKeys } {
  const { keys, roles } = set.root.signed;
  if (name === 'targets') return { keys, role: roles.targets };
  const delegations = set.targets.get(delegator)?.signed.delegations;
  const role = delegations?.byName.get(name) ?? delegations?.succinct;
  if (delegations === undefined || role === undefined)
    throw tufFailure('TRUST_TUF_NOT_DELEGATED', name, `${delegator} does not delegate to it`);
  return { keys: delegations.keys, role };
}

/**
 * Adds the timestamp kept from before, if it is still valid under the current root. Otherwise nothing is
 * added: a changed key recovers from a fast-forward attack.
 */
export function keptTimestamp(set: TrustedSet, bytes: Buffer): TrustedSet {
  const kept = ifSigned(set, 'timestamp', bytes);
  return kept === undefined ? set : { ...set, timestamp: kept };
}

/** Adds the kept snapshot as {@link keptTimestamp} does. Without a trusted timestamp, it is not added. */
export function keptSnapshot(set: TrustedSet, bytes: Buffer): TrustedSet {
  const kept = set.timestamp === undefined ? undefined : signedSnapshot(set, bytes);
  return kept === undefined ? set : { ...set, snapshot: kept };
}

/** Returns the snapshot if it is signed as the current root requires. */
export function signedSnapshot(set: TrustedSet, bytes: Buffer): Metadata<Snapshot> | undefined {
  return ifSigned(set, 'snapshot', bytes);
}

/** Returns the kept metadata of a role; its signatures are verified when it is compared. */
export function keptTargets(dialect: Dialect, bytes: Buffer): Metadata<Targets> | undefined {
  return attempt(() => readMetadata(dialect, 'targets', bytes));
}

function ifSigned<T extends 'timestamp' | 'snapshot'>(
  set: TrustedSet,
  type: T,
  bytes: Buffer,
): ReturnType<typeof readMetadata<T>> | undefined {
  try {
    const kept = readMetadata(set.dialect, type, bytes);
    return isSigned(kept, set.root.signed.keys, set.root.signed.roles[type]) ? kept : undefined;
  } catch {
    return undefined;
  }
}

function read<T extends TopRole>(
  dialect: Dialect,
  type: T,
  name: string,
  bytes: Buffer,
): ReturnType<typeof readMetadata<T>> {
  try {
    return readMetadata(dialect, type, bytes);
  } catch (thrown) {
    throw tufFailure('TRUST_TUF_MALFORMED', name, reasonOf(thrown), thrown);
  }
}

function verifyTop(set: TrustedSet, role: TopRole, metadata: Metadata): void {
  verifyRole(role, metadata, set.root.signed.keys, set.root.signed.roles[role]);
}

function verifyRole(
  name: string,
  metadata: Metadata,
  keys: ReadonlyMap<string, TufKey>,
  role: RoleKeys,
  by = 'the root',
): void {
  const count = signersIn(metadata, keys, role);
  if (count >= role.threshold) return;
  const said =
    metadata.signatures.length === 0
      ? 'it has no signature'
      : `${count} of the ${role.threshold} signatures that ${by} requires count`;
  throw tufFailure('TRUST_TUF_UNSIGNED', name, `${said}${otherKeys(metadata, role)}`);
}

function otherKeys({ signatures }: Metadata, { keyids }: RoleKeys): string {
  const own = new Set(keyids);
  const others = signatures.filter(({ keyid }) => !own.has(keyid)).length;
  return others === 0 ? '' : `; ${others} of another key`;
}

const isSigned = (metadata: Metadata, keys: ReadonlyMap<string, TufKey>, role: RoleKeys): boolean =>
  signersIn(metadata, keys, role) >= role.threshold;

/**
 * Counts the keys of the role that have signed, and stops at the threshold. Keys count, not ids: one key
 * under two ids signs once. Each key is tried once, with the first non-empty signature under any of its ids.
 * Signatures that a mirror adds therefore cost no more than the role has keys.
 * @param mostHashed the maximum bytes to hash: each try hashes the whole file. A signature that is not tried
 * does not count.
 */
export function signersIn(
  { signatures, message }: Pick<Metadata, 'signatures' | 'message'>,
  keys: ReadonlyMap<string, TufKey>,
  role: RoleKeys,
  mostHashed = mostHashedBytes,
): number {
  const mostTries = Math.max(1, Math.floor(mostHashed / Math.max(1, message.length)));
  const own = new Set(role.keyids);
  const tried = new Set<string>();
  let signers = 0;
  for (const { keyid, bytes } of signatures) {
    if (signers >= role.threshold || tried.size >= mostTries) break;
    // An empty signature is a placeholder of an offline signer.
    const key = bytes.length > 0 && own.has(keyid) ? keys.get(keyid) : undefined;
    if (key === undefined || tried.has(key.material)) continue;
    tried.add(key.material);
    if (signedBy(key, message, bytes)) signers += 1;
  }
  return signers;
}

function refuseOlder(name: string, version: number, trusted: number, what = 'version'): void {
  if (version >= trusted) return;
  throw tufFailure(
    'TRUST_TUF_ROLLBACK',
    name,
    `${what} ${version} is older than ${trusted}, which was trusted before`,
  );
}

function refuseExpired(name: string, { expires, version }: Signed, now: Date): void {
  if (expires > now.getTime()) return;
  throw tufFailure(
    'TRUST_TUF_EXPIRED',
    name,
    `version ${version} expired at ${new Date(expires).toISOString()}`,
  );
}

function sameVersion(name: string, { version }: Signed, meta: FileMeta, by: string): void {
  if (meta.version === undefined || meta.version === version) return;
  throw tufFailure(
    'TRUST_TUF_MIX_AND_MATCH',
    name,
    `its version is ${version}, but the ${by} names version ${meta.version}`,
  );
}

function present<T>(metadata: T | undefined, name: string): T {
  if (metadata === undefined) throw tufFailure('TRUST_TUF_MISSING', name, 'none is trusted yet');
  return metadata;
}

/** Checks length and hashes, where they are given. @throws TRUST_TUF_WRONG_LENGTH · TRUST_TUF_WRONG_HASH */
export function verifyFile(name: string, bytes: Buffer, meta: Pick<FileMeta, 'length' | 'hashes'>): void {
  const wrong = mismatch(bytes, meta);
  if (wrong !== undefined) throw tufFailure(wrong.code, name, wrong.why);
}

const digests = ['sha256', 'sha384', 'sha512'];

/**
 * Returns why a file does not match. Every hash of a known algorithm must match, and where hashes are given,
 * at least one algorithm must be known.
 */
function mismatch(
  bytes: Buffer,
  { length, hashes }: Pick<FileMeta, 'length' | 'hashes'>,
): { code: 'TRUST_TUF_WRONG_LENGTH' | 'TRUST_TUF_WRONG_HASH'; why: string } | undefined {
  if (length !== undefined && bytes.length !== length)
    return {
      code: 'TRUST_TUF_WRONG_LENGTH',
      why: `it has ${bytes.length} bytes, but the signed length is ${length}`,
    };
  const given = Object.entries(hashes);
  const known = given.filter(([algorithm]) => digests.includes(algorithm));
  if (given.length > 0 && known.length === 0)
    return {
      code: 'TRUST_TUF_WRONG_HASH',
      why: `none of its hashes can be checked: ${given.map(([name]) => name).join(', ')}`,
    };
  const other = known.find(([algorithm, hash]) => createHash(algorithm).update(bytes).digest('hex') !== hash);
  return other === undefined
    ? undefined
    : { code: 'TRUST_TUF_WRONG_HASH', why: `its ${other[0]} is not the signed ${other[1]}` };
}
