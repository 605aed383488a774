import { createHash } from 'node:crypto';
import { reasonOf } from '../../base/errors/index.ts';
import { signersIn } from '../tuf/trusted-set.ts';
import type {
  FileMeta,
  Metadata,
  RoleKeys,
  Root,
  Signed,
  Targets,
  TopRole,
  TufKey,
} from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { AcceptInput, NewFile } from './accept-input.ts';
import { readHeads } from './heads.ts';
import type { Head } from './heads.ts';
import { readRoot, readSnapshot } from './remembered-files.ts';
import { heldKeys } from './online-keys.ts';
import { nextNotarySnapshot, nextNotaryTimestamp } from './online-files.ts';
import { invalidUpdate, isRefusal } from './refusal.ts';
import type { Refusal, UpdateFault } from './refusal.ts';
import { isDelegation, isNotaryRole, parentOf, shallowFirst } from './roles.ts';
import { rootKeysFor } from './root-certificates.ts';

/**
 * Applies Notary's rules for an update (server/handlers/validation.go of Notary 0.7.0): first the chain of
 * roots, then targets with shallow roles first, then the snapshot of the publisher or one of our own, and
 * always a new timestamp.
 */
export function acceptNotary(input: AcceptInput): readonly NewFile[] | Refusal {
  const { gun, now, stored, online } = input;
  const heads = readHeads(input.uploads, isNotaryRole);
  if (isRefusal(heads)) return heads;
  // When a role is posted twice, the last file counts.
  const uploads = new Map(heads.map((one) => [one.role, one]));
  const files: NewFile[] = [];
  const attempt = <T>(name: UpdateFault, body: () => T): T | Refusal => {
    try {
      return body();
    } catch (thrown) {
      return invalidUpdate(name, reasonOf(thrown));
    }
  };

  const storedRoot = stored.get('root');
  const rootUpload = uploads.get('root');
  const former = storedRoot === undefined ? undefined : readRoot('notary', storedRoot);
  if (rootUpload === undefined && former === undefined)
    return invalidUpdate('ErrValidation', 'no pre-existing root and no root provided in update.');
  const root =
    rootUpload === undefined
      ? former
      : attempt('ErrBadRoot', () => nextRoot(gun, now, rootUpload.bytes, former));
  if (root === undefined || isRefusal(root)) return root ?? invalidUpdate('ErrBadRoot', 'there is none');
  if (rootUpload !== undefined) files.push(fileOf(rootUpload));

  const loaded = new Map<string, Buffer>([['root', root.bytes]]);
  const targets = new Map<string, Metadata<Targets>>();
  for (const role of [...uploads.keys()]
    .filter((name) => name === 'targets' || isDelegation(name))
    .sort(shallowFirst)) {
    const upload = uploads.get(role);
    if (upload === undefined) continue;
    const refusal = attempt('ErrBadTargets', () => {
      for (const ancestor of ancestorsOf(role)) {
        const bytes = targets.has(ancestor) ? undefined : stored.get(ancestor);
        if (bytes === undefined) continue;
        targets.set(
          ancestor,
          loadTargets(ancestor, readMetadata('notary', 'targets', bytes), root.signed, targets),
        );
        loaded.set(ancestor, bytes);
      }
      const metadata = loadTargets(
        role,
        readMetadata('notary', 'targets', upload.bytes, upload.parsed),
        root.signed,
        targets,
      );
      refuseExpired(role, metadata.signed, now);
      targets.set(role, metadata);
      loaded.set(role, upload.bytes);
    });
    if (isRefusal(refusal)) return refusal;
    files.push(fileOf(upload));
  }

  const snapshot = attempt('ErrBadSnapshot', (): NewFile | Refusal => {
    const given = uploads.get('snapshot');
    if (given === undefined) return makeSnapshot(input, root.signed, loaded, stored.get('snapshot'));
    checkSnapshot(given.bytes, root.signed, loaded, stored, now);
    return fileOf(given);
  });
  if (isRefusal(snapshot)) return snapshot;
  files.push(snapshot);

  const held = heldKeys(root.signed.roles.timestamp, root.signed.keys, online);
  // Two spaces, as in notary-server.
  if (held.length < root.signed.roles.timestamp.threshold)
    return invalidUpdate('ErrBadRoot', 'no  timestamp keys exist on the server');
  files.push(nextNotaryTimestamp({ former: stored.get('timestamp'), snapshot, held, now }));
  return files;
}

const fileOf = ({ role, version, bytes }: Head): NewFile => ({ role, version, bytes });

function makeSnapshot(
  { online, now }: AcceptInput,
  root: Root,
  loaded: ReadonlyMap<string, Buffer>,
  former: Buffer | undefined,
): NewFile | Refusal {
  if (former === undefined && !loaded.has('targets'))
    return invalidUpdate('ErrValidation', 'targets must be loaded first');
  const held = heldKeys(root.roles.snapshot, root.keys, online);
  if (held.length < root.roles.snapshot.threshold) {
    const why =
      'no snapshot was included in update and server does not hold current snapshot key for repository';
    return invalidUpdate('ErrBadHierarchy', why, 'snapshot');
  }
  const files = [...loaded].map(([role, bytes]) => ({ role, version: 0, bytes }));
  return nextNotarySnapshot({ former, files, held, now });
}

/** Returns the ancestors of a role: `targets` and `targets/a` for `targets/a/b`. */
function ancestorsOf(role: string): string[] {
  const parts = role.split('/');
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'));
}

function nextRoot(
  gun: string,
  now: number,
  bytes: Buffer,
  former: Metadata<Root> | undefined,
): Metadata<Root> {
  const root = readRoot('notary', bytes);
  refuseOtherType('root', root);
  const current = former?.signed.version ?? 1;
  const { version } = root.signed;
  if (version !== current && version !== current + 1)
    throw new Error(`Root modifications must increment the version. Current ${current}, new ${version}`);
  for (const [role, keys] of Object.entries(root.signed.roles))
    refuseUnknownKeys('root', role, keys, root.signed.keys);
  const own = rootKeysFor(gun, root.signed, bytes, now);
  if (own.size === 0)
    throw new Error(
      'could not validate the path to a trusted root: unable to retrieve valid leaf certificates',
    );
  if (former !== undefined) {
    const trusted = rootKeysFor(gun, former.signed, former.bytes, undefined);
    const { threshold } = former.signed.roles.root;
    if (signersIn(root, trusted, { keyids: [...trusted.keys()], threshold }) < threshold)
      throw new Error(
        'could not rotate trust to a new trusted root: failed to validate data with current trusted certificates',
      );
  }
  const { threshold } = root.signed.roles.root;
  if (signersIn(root, own, { keyids: [...own.keys()], threshold }) < threshold)
    throw new Error('could not validate the path to a trusted root: failed to validate integrity of roots');
  refuseExpired('root', root.signed, now);
  return root;
}

/** Loads targets or a delegated role, signed by the keys that the root or the parent role names for it. */
function loadTargets(
  role: string,
  metadata: Metadata<Targets>,
  root: Root,
  targets: ReadonlyMap<string, Metadata<Targets>>,
): Metadata<Targets> {
  refuseOtherType('targets', metadata);
  const { delegations } = metadata.signed;
  for (const one of delegations?.roles ?? []) {
    if (!isDelegation(one.name) || parentOf(one.name) !== role)
      throw new Error(`${role} type metadata invalid: delegation role ${one.name} invalid`);
    refuseUnknownKeys(role, one.name, one, delegations?.keys ?? new Map());
  }
  if (role === 'targets') {
    refuseUnsigned(role, metadata, root.keys, root.roles.targets);
    return metadata;
  }
  const parent = targets.get(parentOf(role))?.signed.delegations;
  const delegated = parent?.byName.get(role);
  if (parent === undefined || delegated === undefined) throw new Error(`role does not exist: ${role}`);
  refuseUnsigned(role, metadata, parent.keys, delegated);
  return metadata;
}

function checkSnapshot(
  bytes: Buffer,
  root: Root,
  loaded: ReadonlyMap<string, Buffer>,
  stored: ReadonlyMap<string, Buffer>,
  now: number,
): void {
  const snapshot = readSnapshot('notary', bytes);
  refuseOtherType('snapshot', snapshot);
  refuseUnsigned('snapshot', snapshot, root.keys, root.roles.snapshot);
  const { meta } = snapshot.signed;
  for (const role of ['root', 'targets']) {
    if (meta.get(role)?.hashes['sha256'] === undefined)
      throw new Error(`snapshot type metadata invalid: missing ${role} sha256 checksum information`);
  }
  refuseExpired('snapshot', snapshot.signed, now);
  for (const role of loaded.keys())
    if (!meta.has(role)) throw new Error(`no checksums for supported algorithms were provided for ${role}`);
  // Stricter than notary-server: a snapshot that names a file other than the current one would roll that role
  // back, or lose it.
  for (const [role, named] of meta) {
    const file = loaded.get(role) ?? stored.get(role);
    if (file === undefined)
      throw new Error(`the snapshot names ${role}, which is not in the update and not in the collection`);
    refuseOtherFile(role, file, named);
  }
}

function refuseOtherFile(role: string, bytes: Buffer, { hashes, length }: FileMeta): void {
  for (const algorithm of ['sha256', 'sha512']) {
    const expected = hashes[algorithm];
    if (expected !== undefined && createHash(algorithm).update(bytes).digest('hex') !== expected)
      throw new Error(`${algorithm} checksum for ${role} did not match: expected ${expected}`);
  }
  if (length !== bytes.length) throw new Error(`the length of ${role} did not match: expected ${length}`);
}

/** Refuses a `_type` in another case: the reader accepts any case, but Notary requires its own. */
function refuseOtherType(role: TopRole, { message }: Metadata): void {
  const expected = `${role.slice(0, 1).toUpperCase()}${role.slice(1)}`;
  // `_type` is the first field in canonical JSON.
  if (!message.subarray(0, 64).toString('utf8').startsWith(`{"_type":"${expected}"`))
    throw new Error(`${role} type metadata invalid: expected type ${expected}`);
}

function refuseUnknownKeys(
  role: string,
  about: string,
  { keyids }: RoleKeys,
  keys: ReadonlyMap<string, TufKey>,
): void {
  const unknown = keyids.find((id) => !keys.has(id));
  if (unknown !== undefined)
    throw new Error(
      `${role} type metadata invalid: key ID ${unknown} specified in ${about} without corresponding key`,
    );
}

function refuseUnsigned(
  role: string,
  metadata: Metadata,
  keys: ReadonlyMap<string, TufKey>,
  roleKeys: RoleKeys,
): void {
  if (metadata.signatures.length === 0) throw new Error('tuf: data has no signatures');
  if (signersIn(metadata, keys, roleKeys) < roleKeys.threshold)
    throw new Error(`valid signatures did not meet threshold for ${role}`);
}

function refuseExpired(role: string, { expires }: Signed, now: number): void {
  if (expires < now) throw new Error(`${role} expired at ${new Date(expires).toUTCString()}`);
}
