import { lstat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { append } from '../../base/lists/index.ts';
import type { PathSegment } from '../../base/schema/index.ts';
import { listReferenced, readReferenced, refuseKeyText, report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';
import { constraintProperties, readConstraints, refuseUnprovenAge } from '../requirements/constraints.ts';
import { recordOf } from '../json/strict-json.ts';
import { isSubset, parseSubject } from './distinguished-name.ts';
import { readStoreFile } from './store-file.ts';
import { levelNames, levels, storeTypes, validationTypes } from '../requirements/notation.ts';
import type {
  Actions,
  LevelName,
  NotationRequirement,
  StoreType,
  TrustStore,
} from '../requirements/notation.ts';

const text = { type: 'string', minLength: 1, maxLength: 512 } as const;
const storePattern = '^(ca|signingAuthority|tsa)[/:][A-Za-z0-9_.-]+$';
const storeName = {
  type: 'string',
  pattern: storePattern,
  description: 'write a type (ca, signingAuthority, tsa) and a name, such as ca/k8s',
} as const;
const action = (check: string) =>
  ({ enum: ['enforce', 'log'], description: `Action if the check of ${check} fails.` }) as const;
const files = (purpose: string) =>
  ({
    type: 'array',
    minItems: 1,
    maxItems: 100,
    items: text,
    description: `Certificate files of ${purpose}.`,
  }) as const;

/** JSON Schema of a `notation` requirement. */
export const notationSchema = {
  type: 'object',
  additionalProperties: false,
  description: 'A Notary Project signature, as notation makes it.',
  properties: {
    truststore: {
      description:
        'Trust stores, such as ca/k8s: the certificates in truststore/x509/ca/k8s, relative to this policy.',
      anyOf: [storeName, { type: 'array', minItems: 1, maxItems: 100, items: storeName }],
    },
    folder: {
      ...text,
      description: 'Folder of the trust stores, relative to this policy. Default: "truststore".',
    },
    certificates: {
      type: 'object',
      additionalProperties: false,
      minProperties: 1,
      description:
        'Certificate files by the purpose that they are trusted for, relative to this policy: in addition to the trust stores, or instead of them.',
      properties: {
        ca: files('certificate authorities of signers'),
        signingAuthority: files('signing authorities'),
        tsa: files('time stamping authorities'),
      },
    },
    identities: {
      type: 'array',
      minItems: 1,
      maxItems: 1000,
      items: text,
      description:
        'Identities that may sign: "*" for any (the default), or x509.subject: C=US, ST=WA, O=example.com, a part of the subject.',
    },
    level: {
      enum: [...levelNames],
      description:
        'The verification level. Default: strict. Every verdict reports the failures that the level only logs.',
    },
    override: {
      type: 'object',
      additionalProperties: false,
      description: 'Checks for which the policy replaces the action of the level.',
      properties: {
        authenticity: action('the signer'),
        authenticTimestamp: action('the time of signing'),
        expiry: action('the expiry that the signature states'),
        revocation: {
          enum: ['enforce', 'log', 'skip'],
          description: 'Action if the check of revocation fails. With skip, it is not checked.',
        },
      },
    },
    verifyTimestamp: {
      enum: ['always', 'afterCertExpiry'],
      description: 'When a timestamp is required, if a trust store of type tsa is named. Default: always.',
    },
    ...constraintProperties,
    signedIdentity: {
      ...constraintProperties.signedIdentity,
      description: 'Refused: a Notary Project signature carries no name of the image.',
    },
  },
} as const;

const unstamped = {
  why: 'nothing proves when it was signed without a time stamp',
  fix: 'name a trust store of type tsa',
};

/** Reads the value of `notation`. Values that the schema refuses have been reported already. */
export async function readNotation(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<NotationRequirement | undefined> {
  const record = recordOf(value) ?? {};
  const before = building.problems.length;
  const stores = [
    ...(await readStores(record, path, building)),
    ...(await readCertificates(record, path, building)),
  ];
  if (record['truststore'] === undefined && record['certificates'] === undefined)
    report(
      building,
      path,
      'it names neither `truststore` nor `certificates`, so nobody would be trusted',
      'write truststore: ca/NAME',
    );
  else if (stores.length > 0 && stores.every(({ type }) => type === 'tsa'))
    report(
      building,
      path,
      'it names time stamping authorities only, so nobody may sign',
      'name a trust store of type ca or signingAuthority, too',
    );
  const identities = readIdentities(record['identities'], [...path, 'identities'], building);
  const level = levelNames.find((name) => name === record['level']) ?? 'strict';
  const constraints = readConstraints(record, path, building);
  if (constraints?.signedIdentity !== undefined)
    report(
      building,
      [...path, 'signedIdentity'],
      'a Notary Project signature carries no name of the image: signedIdentity can never be met',
      'remove it: the digest is signed, and `images` says which names the rule is for',
      'key',
    );
  if (stores.length > 0 && stores.every(({ type }) => type === 'ca'))
    refuseUnprovenAge(constraints, path, building, unstamped);
  if (building.problems.length > before || stores.length === 0) return undefined;
  return {
    kind: 'notation',
    stores,
    identities,
    level,
    actions: readActions(level, record['override']),
    verifyTimestamp: record['verifyTimestamp'] === 'afterCertExpiry' ? 'afterCertExpiry' : 'always',
    ...(constraints === undefined ? {} : { constraints }),
  };
}

function readActions(level: LevelName, override: unknown): Actions {
  const changes = recordOf(override) ?? {};
  const entries = validationTypes.map((type) => [type, changes[type] ?? levels[level][type]]);
  return Object.fromEntries(entries) as Actions;
}

async function readStores(
  record: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  building: Building,
): Promise<readonly TrustStore[]> {
  const { truststore } = record;
  const folder = typeof record['folder'] === 'string' ? record['folder'] : 'truststore';
  const listed: readonly unknown[] = Array.isArray(truststore)
    ? truststore
    : truststore === undefined
      ? []
      : [truststore];
  const stores: TrustStore[] = [];
  for (const [index, name] of listed.entries()) {
    const at = [...path, 'truststore', ...(Array.isArray(truststore) ? [index] : [])];
    const match = typeof name === 'string' ? new RegExp(storePattern).exec(name) : null;
    if (match === null || typeof name !== 'string') continue;
    const type = match[1] as StoreType;
    const short = name.slice(type.length + 1);
    const store = await readStore(type, short, `${folder}/x509/${type}/${short}`, at, building);
    if (store !== undefined) stores.push(store);
  }
  return stores;
}

/**
 * Reads a named store: every file of its folder, none of them a link (trust-store-trust-policy.md, "Trust
 * Store").
 */
async function readStore(
  type: StoreType,
  name: string,
  folder: string,
  path: readonly PathSegment[],
  building: Building,
): Promise<TrustStore | undefined> {
  const fails = (message: string, fix: string): undefined =>
    report(building, path, message, fix) as undefined;
  const place = `the trust store ${type}/${name} (${folder})`;
  const list = await listReferenced(building, folder);
  if ('problem' in list)
    return fails(
      `${place} cannot be read: ${list.problem}`,
      `put its certificates there: ${folder}/root.crt`,
    );
  const certificates: TrustStore['certificates'][number][] = [];
  for (const entry of list.names) {
    const file = `${folder}/${entry}`;
    const problem = await linkProblem(building, file);
    if (problem !== undefined)
      return fails(`${place}: ${entry} ${problem}`, 'put certificate files there, and nothing else');
    const read = await readFileOf(building, file, type);
    if (typeof read === 'string')
      return fails(`${place}: ${entry} cannot be used: ${read}`, 'put certificates there, in PEM or DER');
    append(certificates, read);
  }
  if (list.names.length === 0)
    return fails(`${place} is empty`, `put its certificates there: ${folder}/root.crt`);
  return { type, name: `${type}/${name}`, certificates };
}

async function linkProblem(building: Building, file: string): Promise<string | undefined> {
  try {
    const facts = await lstat(resolve(dirname(building.document.file), file));
    if (facts.isSymbolicLink())
      return 'is a link, which trust stores must not contain (name such files under `certificates`)';
    return facts.isFile() ? undefined : 'is not a file';
  } catch {
    return 'cannot be read';
  }
}

async function readCertificates(
  record: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  building: Building,
): Promise<readonly TrustStore[]> {
  const stores: TrustStore[] = [];
  for (const type of storeTypes) {
    const names: unknown = recordOf(record['certificates'])?.[type];
    for (const [index, name] of (Array.isArray(names) ? names : []).entries()) {
      if (typeof name !== 'string' || name === '') continue;
      if (refuseKeyText(building, [...path, 'certificates', type, index], name)) continue;
      const read = await readFileOf(building, name, type);
      if (typeof read === 'string')
        report(
          building,
          [...path, 'certificates', type, index],
          `the certificate file ${name} cannot be used: ${read}`,
          'name a certificate in PEM or DER, relative to this policy',
        );
      else stores.push({ type, name: `${type} ${name}`, certificates: read });
    }
  }
  return stores;
}

async function readFileOf(
  building: Building,
  file: string,
  type: StoreType,
): Promise<TrustStore['certificates'] | string> {
  const read = await readReferenced(building, file, 1024 * 1024);
  return 'problem' in read ? read.problem : readStoreFile(file, read.bytes, type);
}

function readIdentities(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): NotationRequirement['identities'] {
  const listed = (Array.isArray(value) ? value : ['*']).filter(
    (one): one is string => typeof one === 'string',
  );
  if (listed.includes('*')) {
    if (listed.length > 1)
      report(
        building,
        path,
        '"*" is listed with other identities, which then have no effect',
        'write "*" alone, or leave it out',
      );
    return '*';
  }
  const parsed: { readonly name: string; readonly subject: ReadonlyMap<string, string> }[] = [];
  for (const [index, identity] of listed.entries()) {
    const name = /^x509\.subject:(.*)$/s.exec(identity)?.[1]?.trim();
    const subject =
      name === undefined ? { problem: 'it does not begin with "x509.subject:"' } : parseSubject(name);
    if ('problem' in subject) {
      report(
        building,
        [...path, index],
        `"${identity}" is not an identity: ${subject.problem}`,
        'write it like x509.subject: C=US, ST=WA, O=example.com',
      );
      continue;
    }
    const other = parsed.find((one) => isSubset(one.subject, subject) || isSubset(subject, one.subject));
    if (other !== undefined)
      report(
        building,
        [...path, index],
        `"${identity}" overlaps with ${other.name}`,
        'keep only one of them',
      );
    parsed.push({ name: name ?? '', subject });
  }
  return parsed.map(({ name }) => name);
}
