import { readTufKey } from './keys.ts';
import { firstTwice, mostKeys, mostKeysOfRole, mostPatternLength, refuseMoreThan } from './limits.ts';
import { topRoles } from './model.ts';
import type {
  DelegatedRole,
  DelegationScope,
  Delegations,
  FileMeta,
  RoleKeys,
  Root,
  Signed,
  Snapshot,
  TargetFile,
  Targets,
  Timestamp,
  TopRole,
  TufKey,
  TufSignature,
} from './model.ts';
import { entriesAt, flagAt, listAt, objectAt, textAt, textsAt, timeAt, wholeAt } from './reading.ts';
import type { Json } from './reading.ts';

/**
 * Reads the TUF specification's own form of metadata (1.0.34, section 4). Every reader throws an Error with a
 * sentence.
 */

export function readTufSignature(value: unknown, at: string): TufSignature {
  const fields = objectAt(value, at);
  const text = textAt(fields['sig'], `${at}.sig`);
  // An empty or unreadable signature never verifies: offline signers leave placeholders.
  return {
    keyid: textAt(fields['keyid'], `${at}.keyid`),
    bytes: Buffer.from(/^(?:[0-9a-f]{2})*$/iu.test(text) ? text : '', 'hex'),
  };
}

export function readTufSigned(type: TopRole, fields: Json): Signed {
  const kind = textAt(fields['_type'], '_type');
  if (kind !== type) throw new Error(`it is ${JSON.stringify(kind)} metadata, not ${type}`);
  const specification = textAt(fields['spec_version'], 'spec_version');
  if (!/^1\.\d+(?:\.\d+)?$/u.test(specification))
    throw new Error(`spec_version ${JSON.stringify(specification)} is not supported: 1.x is`);
  const common = {
    dialect: 'tuf',
    version: wholeAt(fields['version'], 'version', 1),
    expires: timeAt(fields['expires'], 'expires'),
  } as const;
  if (type === 'root') return { ...common, ...readRoot(fields) };
  if (type === 'timestamp') return { ...common, ...readTimestamp(fields) };
  if (type === 'snapshot') return { ...common, ...readSnapshot(fields) };
  return { ...common, ...readTargets(fields) };
}

type Body<S extends Signed> = Omit<S, 'dialect' | 'version' | 'expires'>;

export function readKeys(
  value: unknown,
  at: string,
  read: (id: string, value: unknown) => TufKey,
): Map<string, TufKey> {
  const entries = entriesAt(value, at);
  refuseMoreThan(mostKeys, entries.length, at);
  return new Map(entries.map(([id, key]) => [id, read(id, key)]));
}

export function readRoleKeys(value: unknown, at: string): RoleKeys {
  const fields = objectAt(value, at);
  const keyids = textsAt(fields['keyids'], `${at}.keyids`);
  refuseMoreThan(mostKeysOfRole, keyids.length, `${at}.keyids`);
  if (new Set(keyids).size !== keyids.length) throw new Error(`${at}.keyids names a key twice`);
  return { keyids, threshold: wholeAt(fields['threshold'], `${at}.threshold`, 1) };
}

function readRoot(fields: Json): Body<Root> {
  const roles = objectAt(fields['roles'], 'roles');
  const consistent = fields['consistent_snapshot'];
  return {
    type: 'root',
    keys: readKeys(fields['keys'], 'keys', readTufKey),
    roles: Object.fromEntries(
      topRoles.map((role) => [role, readRoleKeys(roles[role], `roles.${role}`)]),
    ) as Record<TopRole, RoleKeys>,
    consistentSnapshot: consistent !== undefined && flagAt(consistent, 'consistent_snapshot'),
  };
}

export function readHashes(value: unknown, at: string): Record<string, string> {
  const hashes = entriesAt(value, at).map(([algorithm, hash]): [string, string] => {
    const text = textAt(hash, `${at}.${algorithm}`).toLowerCase();
    return [algorithm, text];
  });
  if (hashes.length === 0) throw new Error(`${at} must contain a hash`);
  return Object.fromEntries(hashes);
}

function readFileMeta(value: unknown, at: string): FileMeta {
  const fields = objectAt(value, at);
  return {
    version: wholeAt(fields['version'], `${at}.version`, 1),
    length: fields['length'] === undefined ? undefined : wholeAt(fields['length'], `${at}.length`, 1),
    hashes: fields['hashes'] === undefined ? {} : readHashes(fields['hashes'], `${at}.hashes`),
  };
}

function readTimestamp(fields: Json): Body<Timestamp> {
  const meta = objectAt(fields['meta'], 'meta');
  return { type: 'timestamp', snapshot: readFileMeta(meta['snapshot.json'], 'meta["snapshot.json"]') };
}

function readSnapshot(fields: Json): Body<Snapshot> {
  const meta = entriesAt(fields['meta'], 'meta').map(([name, value]): [string, FileMeta] => {
    if (!name.endsWith('.json'))
      throw new Error(`meta[${JSON.stringify(name)}] is not a file name: it must end in .json`);
    return [name.slice(0, -'.json'.length), readFileMeta(value, `meta[${JSON.stringify(name)}]`)];
  });
  return { type: 'snapshot', meta: new Map(meta) };
}

function readTargets(fields: Json): Body<Targets> {
  const targets = entriesAt(fields['targets'], 'targets').map(([path, value]): [string, TargetFile] => [
    path,
    readTargetFile(path, value),
  ]);
  return {
    type: 'targets',
    targets: new Map(targets),
    delegations:
      fields['delegations'] === undefined
        ? undefined
        : readDelegations(objectAt(fields['delegations'], 'delegations')),
  };
}

/** @param hashesAt reads the hashes, which the two forms of metadata encode differently */
export function readTargetFile(
  path: string,
  value: unknown,
  hashesAt: (value: unknown, at: string) => Readonly<Record<string, string>> = readHashes,
): TargetFile {
  const at = `target ${JSON.stringify(path)}`;
  const fields = objectAt(value, at);
  return {
    length: wholeAt(fields['length'], `${at}.length`, 0),
    hashes: hashesAt(fields['hashes'], `${at}.hashes`),
    custom: fields['custom'],
  };
}

function readDelegations(fields: Json): Delegations {
  const keys = readKeys(fields['keys'], 'delegations.keys', readTufKey);
  const [roles, succinct] = [fields['roles'], fields['succinct_roles']];
  if ((roles === undefined) === (succinct === undefined))
    throw new Error('delegations must contain either roles or succinct_roles');
  if (succinct !== undefined)
    return {
      keys,
      roles: [],
      byName: new Map(),
      succinct: readSuccinct(objectAt(succinct, 'delegations.succinct_roles')),
    };
  const list = listAt(roles, 'delegations.roles').map((role, index) =>
    readDelegatedRole(role, `delegations.roles[${index}]`),
  );
  return { keys, roles: list, byName: rolesByName(list), succinct: undefined };
}

/**
 * Returns the roles by name.
 * @throws Error for a name that two roles have, or that a delegated role cannot have
 */
export function rolesByName(roles: readonly DelegatedRole[]): ReadonlyMap<string, DelegatedRole> {
  const names = roles.map(({ name }) => name);
  const twice = firstTwice(names);
  if (twice !== undefined) throw new Error(`delegations.roles names ${JSON.stringify(twice)} twice`);
  const top = names.find((name) => name === '' || (topRoles as readonly string[]).includes(name));
  if (top !== undefined) throw new Error(`${JSON.stringify(top)} is not a name of a delegated role`);
  return new Map(roles.map((role) => [role.name, role]));
}

function readDelegatedRole(value: unknown, at: string): DelegatedRole {
  const fields = objectAt(value, at);
  return {
    ...readRoleKeys(fields, at),
    name: textAt(fields['name'], `${at}.name`),
    terminating: flagAt(fields['terminating'], `${at}.terminating`),
    scope: readScope(fields, at),
  };
}

function readScope(fields: Json, at: string): DelegationScope {
  const [paths, prefixes] = [fields['paths'], fields['path_hash_prefixes']];
  if ((paths === undefined) === (prefixes === undefined))
    throw new Error(`${at} must contain either paths or path_hash_prefixes`);
  if (paths === undefined)
    return { kind: 'hash-prefixes', prefixes: textsAt(prefixes, `${at}.path_hash_prefixes`) };
  const patterns = textsAt(paths, `${at}.paths`);
  if (patterns.some(({ length }) => length > mostPatternLength))
    throw new Error(`${at}.paths has a pattern of more than ${mostPatternLength} characters`);
  return { kind: 'patterns', patterns };
}

function readSuccinct(fields: Json): NonNullable<Delegations['succinct']> {
  const bits = wholeAt(fields['bit_length'], 'delegations.succinct_roles.bit_length', 1);
  if (bits > 32) throw new Error('delegations.succinct_roles.bit_length must be 1 to 32');
  return {
    ...readRoleKeys(fields, 'delegations.succinct_roles'),
    bits,
    namePrefix: textAt(fields['name_prefix'], 'delegations.succinct_roles.name_prefix'),
  };
}
