import { readNotaryKey } from './keys.ts';
import { topRoles } from './model.ts';
import type {
  DelegatedRole,
  Delegations,
  FileMeta,
  RoleKeys,
  Signed,
  TopRole,
  TufSignature,
} from './model.ts';
import { readKeys, readRoleKeys, readTargetFile, rolesByName } from './read-tuf.ts';
import { entriesAt, listAt, objectAt, textAt, textsAt, timeAt, wholeAt } from './reading.ts';
import type { Json } from './reading.ts';

/**
 * Reads Notary v1's form of metadata (tuf/data of Notary 0.7.0): types are capitalised, hashes and signatures
 * are base64, names have no `.json`, timestamp and snapshot state hashes and no versions, and a delegation
 * covers path prefixes.
 */

export function readNotarySignature(value: unknown, at: string): TufSignature {
  const fields = objectAt(value, at);
  return {
    keyid: textAt(fields['keyid'], `${at}.keyid`),
    bytes: Buffer.from(textAt(fields['sig'], `${at}.sig`), 'base64'),
  };
}

export function readNotarySigned(type: TopRole, fields: Json): Signed {
  const kind = textAt(fields['_type'], '_type');
  if (kind.toLowerCase() !== type) throw new Error(`it is ${JSON.stringify(kind)} metadata, not ${type}`);
  const common = {
    dialect: 'notary',
    version: wholeAt(fields['version'], 'version', 1),
    expires: timeAt(fields['expires'], 'expires'),
  } as const;
  if (type === 'root') {
    const roles = objectAt(fields['roles'], 'roles');
    return {
      ...common,
      type,
      keys: readKeys(fields['keys'], 'keys', readNotaryKey),
      roles: Object.fromEntries(
        topRoles.map((role) => [role, readRoleKeys(roles[role], `roles.${role}`)]),
      ) as Record<TopRole, RoleKeys>,
      consistentSnapshot: fields['consistent_snapshot'] === true,
    };
  }
  if (type === 'timestamp')
    return {
      ...common,
      type,
      snapshot: readFileMeta(objectAt(fields['meta'], 'meta')['snapshot'], 'meta.snapshot'),
    };
  if (type === 'snapshot') {
    const meta = entriesAt(fields['meta'], 'meta').map(
      ([name, value]) => [name, readFileMeta(value, `meta.${name}`)] as const,
    );
    return { ...common, type, meta: new Map(meta) };
  }
  const targets = entriesAt(fields['targets'] ?? {}, 'targets').map(
    ([path, value]) => [path, readTargetFile(path, value, readHashes)] as const,
  );
  return {
    ...common,
    type,
    targets: new Map(targets),
    delegations: readDelegations(objectAt(fields['delegations'] ?? {}, 'delegations')),
  };
}

function readFileMeta(value: unknown, at: string): FileMeta {
  const fields = objectAt(value, at);
  return {
    version: undefined,
    length: wholeAt(fields['length'], `${at}.length`, 1),
    hashes: readHashes(fields['hashes'], `${at}.hashes`),
  };
}

const hashBytes: Readonly<Record<string, number>> = { sha256: 32, sha512: 64 };

function readHashes(value: unknown, at: string): Record<string, string> {
  const hashes = entriesAt(value, at).map(([algorithm, hash]): [string, string] => {
    const bytes = Buffer.from(textAt(hash, `${at}.${algorithm}`), 'base64');
    if (bytes.length !== (hashBytes[algorithm] ?? bytes.length))
      throw new Error(`${at}.${algorithm} is not a ${algorithm}`);
    return [algorithm, bytes.toString('hex')];
  });
  if (!hashes.some(([algorithm]) => algorithm in hashBytes))
    throw new Error(`${at} must contain a sha256 or sha512`);
  return Object.fromEntries(hashes);
}

function readDelegations(fields: Json): Delegations {
  const roles = listAt(fields['roles'] ?? [], 'delegations.roles').map((role, index) =>
    readRole(role, `delegations.roles[${index}]`),
  );
  const keys = readKeys(fields['keys'] ?? {}, 'delegations.keys', readNotaryKey);
  return { keys, roles, byName: rolesByName(roles), succinct: undefined };
}

function readRole(value: unknown, at: string): DelegatedRole {
  const fields = objectAt(value, at);
  // Go writes a list without entries as null: a role whose keys were all purged.
  const keys: RoleKeys = readRoleKeys({ ...fields, keyids: fields['keyids'] ?? [] }, at);
  const prefixes = textsAt(fields['paths'] ?? [], `${at}.paths`);
  return {
    ...keys,
    name: textAt(fields['name'], `${at}.name`),
    terminating: false,
    scope: { kind: 'prefixes', prefixes },
  };
}
