import type { PathSegment } from '../../../base/schema/index.ts';
import { isRemappingPrefix, parseDockerReference } from '../../requirements/docker-reference.ts';
import { defaultSignedIdentity, identityFields } from '../../requirements/signed-identity.ts';
import type { SignedIdentity } from '../../requirements/signed-identity.ts';
import type { Json, Source } from './source.ts';

/** A checked policy.json: containers-policy.json(5). */
export interface ContainersPolicy {
  readonly default: ContainersRequirements;
  /**
   * The requirements of the transport `docker`, by scope. The empty scope is the default of the transport.
   */
  readonly docker: ReadonlyMap<string, ContainersRequirements>;
  /** Scopes of other transports, with their positions. */
  readonly others: readonly { readonly transport: string; readonly path: readonly PathSegment[] }[];
}

export interface ContainersRequirements {
  readonly path: readonly PathSegment[];
  readonly list: readonly ContainersRequirement[];
}

/** Paths of files; or their contents in base64, and the name of the field that has them. */
export type Material =
  | { readonly paths: readonly string[] }
  | { readonly contents: readonly string[]; readonly field: string };

export type ContainersRequirement =
  | { readonly type: 'insecureAcceptAnything' | 'reject' | 'signedBaseLayer' }
  | {
      readonly type: 'signedBy';
      readonly keyType: string;
      readonly keys: Material;
      readonly signedIdentity: SignedIdentity;
    }
  | SigstoreSigned;

export interface SigstoreSigned {
  readonly type: 'sigstoreSigned';
  readonly keys?: Material;
  readonly fulcio?: { readonly ca: Material; readonly oidcIssuer: string; readonly subjectEmail: string };
  readonly rekor?: Material;
  readonly pki?: {
    readonly roots: Material;
    readonly intermediates?: Material;
    readonly subjectEmail?: string;
    readonly subjectHostname?: string;
  };
  readonly signedIdentity: SignedIdentity;
}

/**
 * Reads a policy.json as the image library does (signature/policy_config*.go). Reports what the library
 * refuses.
 */
export function readContainersPolicy(source: Source): ContainersPolicy | undefined {
  if (source.problems.length > 0) return undefined;
  const root = source.record(source.value, [], ['default', 'transports']);
  if (root === undefined) return undefined;
  if (root['default'] === undefined)
    source.report([], 'there is no `default`', 'add "default": [{"type": "reject"}]');
  const fallback =
    root['default'] === undefined ? undefined : readRequirements(root['default'], ['default'], source);
  const docker = new Map<string, ContainersRequirements>();
  const others: { transport: string; path: readonly PathSegment[] }[] = [];
  const transports =
    root['transports'] === undefined ? {} : objectAt(root['transports'], ['transports'], source);
  for (const [transport, scopes] of Object.entries(transports)) {
    for (const [scope, value] of Object.entries(objectAt(scopes, ['transports', transport], source))) {
      const path = ['transports', transport, scope];
      const requirements = readRequirements(value, path, source);
      if (transport === 'docker') docker.set(scope, requirements);
      else others.push({ transport, path });
    }
  }
  return source.problems.length > 0 || fallback === undefined
    ? undefined
    : { default: fallback, docker, others };
}

function objectAt(value: unknown, path: readonly PathSegment[], source: Source): Json {
  const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
  return source.record(value, path, isObject ? Object.keys(value) : ['…']) ?? {};
}

function readRequirements(
  value: unknown,
  path: readonly PathSegment[],
  source: Source,
): ContainersRequirements {
  if (!Array.isArray(value) || value.length === 0) {
    source.report(path, 'this is not a list of requirements', 'write at least one: [{"type": "reject"}]');
    return { path, list: [] };
  }
  const list = value.map((entry: unknown, index) => readRequirement(entry, [...path, index], source));
  return { path, list: list.filter((requirement) => requirement !== undefined) };
}

const keyTypes = ['GPGKeys', 'signedByGPGKeys', 'X509Certificates', 'signedByX509CAs'];
const signedByFields = ['type', 'keyType', 'keyPath', 'keyPaths', 'keyData', 'signedIdentity'];
const rekorFields = [
  'rekorPublicKeyPath',
  'rekorPublicKeyPaths',
  'rekorPublicKeyData',
  'rekorPublicKeyDatas',
];
const sigstoreFields = [
  'type',
  'keyPath',
  'keyPaths',
  'keyData',
  'keyDatas',
  'fulcio',
  'pki',
  ...rekorFields,
  'signedIdentity',
];

function readRequirement(
  value: unknown,
  path: readonly PathSegment[],
  source: Source,
): ContainersRequirement | undefined {
  const type = (value as Json | null)?.['type'];
  switch (type) {
    case 'insecureAcceptAnything':
    case 'reject':
      return source.record(value, path, ['type']) && { type };
    case 'signedBaseLayer': {
      const record = source.record(value, path, ['type', 'baseLayerIdentity']);
      readIdentity(record?.['baseLayerIdentity'] ?? {}, [...path, 'baseLayerIdentity'], source);
      return { type };
    }
    case 'signedBy':
      return readSignedBy(source.record(value, path, signedByFields) ?? {}, path, source);
    case 'sigstoreSigned':
      return readSigstoreSigned(source.record(value, path, sigstoreFields) ?? {}, path, source);
    default:
      source.report(
        [...path, 'type'],
        'this type of requirement is unknown',
        'the known types are: insecureAcceptAnything, reject, signedBy, signedBaseLayer, sigstoreSigned',
      );
      return undefined;
  }
}

function readSignedBy(
  record: Json,
  path: readonly PathSegment[],
  source: Source,
): ContainersRequirement | undefined {
  const keyType = record['keyType'];
  if (typeof keyType !== 'string' || !keyTypes.includes(keyType))
    source.report(
      [...path, 'keyType'],
      'this type of key is unknown',
      `the known types are: ${keyTypes.join(', ')}`,
    );
  const keys = readMaterial(record, path, ['keyPath', 'keyPaths', 'keyData'], source);
  if (keys === undefined) source.report(path, 'it names no keys', 'add one of keyPath, keyPaths, keyData');
  const signedIdentity = readIdentity(record['signedIdentity'], [...path, 'signedIdentity'], source);
  if (keys === undefined || signedIdentity === undefined) return undefined;
  return { type: 'signedBy', keyType: textOf(keyType), keys, signedIdentity };
}

function readSigstoreSigned(
  record: Json,
  path: readonly PathSegment[],
  source: Source,
): SigstoreSigned | undefined {
  const keys = readMaterial(record, path, ['keyPath', 'keyPaths', 'keyData', 'keyDatas'], source, 'some');
  const rekor = readMaterial(record, path, rekorFields, source, 'some');
  const fulcio =
    record['fulcio'] === undefined ? undefined : readFulcio(record['fulcio'], [...path, 'fulcio'], source);
  const pki = record['pki'] === undefined ? undefined : readPki(record['pki'], [...path, 'pki'], source);
  const sources = [keys, record['fulcio'], record['pki']].filter((entry) => entry !== undefined).length;
  if (sources !== 1)
    source.report(
      path,
      'it does not name exactly one kind of signer',
      'write one of keyPath, keyPaths, keyData, keyDatas, fulcio, pki',
    );
  if (record['fulcio'] !== undefined && rekor === undefined)
    source.report(path, 'fulcio requires a log', 'add rekorPublicKeyPath');
  if (record['pki'] !== undefined && rekor !== undefined)
    source.report(path, 'pki does not support a log', 'remove the Rekor keys');
  const signedIdentity = readIdentity(record['signedIdentity'], [...path, 'signedIdentity'], source);
  if (signedIdentity === undefined) return undefined;
  return {
    type: 'sigstoreSigned',
    ...(keys === undefined ? {} : { keys }),
    ...(fulcio === undefined ? {} : { fulcio }),
    ...(rekor === undefined ? {} : { rekor }),
    ...(pki === undefined ? {} : { pki }),
    signedIdentity,
  };
}

/** A value that is not a string was reported already. */
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function readFulcio(value: unknown, path: readonly PathSegment[], source: Source): SigstoreSigned['fulcio'] {
  const record = source.record(value, path, ['caPath', 'caData', 'oidcIssuer', 'subjectEmail']) ?? {};
  const ca = readMaterial(record, path, ['caPath', 'caData'], source);
  const { oidcIssuer, subjectEmail } = record;
  if (ca === undefined) source.report(path, 'it names no certificate authority', 'add caPath or caData');
  if (typeof oidcIssuer !== 'string' || oidcIssuer === '')
    source.report(path, 'it names no OIDC issuer', 'add oidcIssuer');
  if (typeof subjectEmail !== 'string' || subjectEmail === '')
    source.report(path, 'it names no signer', 'add subjectEmail');
  return ca === undefined
    ? undefined
    : { ca, oidcIssuer: textOf(oidcIssuer), subjectEmail: textOf(subjectEmail) };
}

function readPki(value: unknown, path: readonly PathSegment[], source: Source): SigstoreSigned['pki'] {
  const fields = [
    'caRootsPath',
    'caRootsData',
    'caIntermediatesPath',
    'caIntermediatesData',
    'subjectEmail',
    'subjectHostname',
  ];
  const record = source.record(value, path, fields) ?? {};
  const roots = readMaterial(record, path, ['caRootsPath', 'caRootsData'], source);
  const intermediates = readMaterial(record, path, ['caIntermediatesPath', 'caIntermediatesData'], source);
  const named = (field: string): string | undefined =>
    typeof record[field] === 'string' && record[field] !== '' ? record[field] : undefined;
  const [subjectEmail, subjectHostname] = [named('subjectEmail'), named('subjectHostname')];
  if (roots === undefined)
    source.report(path, 'it names no certificate authority', 'add caRootsPath or caRootsData');
  if (subjectEmail === undefined && subjectHostname === undefined)
    source.report(path, 'it names no signer', 'add subjectEmail or subjectHostname');
  if (roots === undefined) return undefined;
  return {
    roots,
    ...(intermediates === undefined ? {} : { intermediates }),
    ...(subjectEmail === undefined ? {} : { subjectEmail }),
    ...(subjectHostname === undefined ? {} : { subjectHostname }),
  };
}

/**
 * Reads at most one of the fields, each as its name says: …Path a file, …Paths several files, …Data base64 of
 * the content, …Datas several of these.
 */
function readMaterial(
  record: Json,
  path: readonly PathSegment[],
  fields: readonly string[],
  source: Source,
  empty?: 'some',
): Material | undefined {
  const present = fields.filter((field) => record[field] !== undefined);
  const [field] = present;
  if (field === undefined) return undefined;
  if (present.length > 1)
    source.report(
      [...path, present[1] ?? field],
      `it cannot be combined with ${field}`,
      `write only one of ${fields.join(', ')}`,
    );
  const wrong = (fix: string): undefined => {
    source.report([...path, field], `\`${field}\` cannot be read`, fix);
    return undefined;
  };
  const value = record[field];
  const list = /s$/.test(field) ? value : [value];
  if (!Array.isArray(list) || (empty === 'some' && list.length === 0))
    return wrong('write a list of at least one');
  const texts = list.filter((entry): entry is string => typeof entry === 'string');
  if (texts.length < list.length) return wrong('write texts');
  if (!field.includes('Data')) return texts.includes('') ? wrong('name a file') : { paths: texts };
  const contents = texts.map(goBase64);
  return contents.includes(undefined)
    ? wrong('write base64')
    : { contents: contents.filter((content) => content !== undefined), field };
}

/** Normalises base64 as Go reads it: with padding, and ignoring line breaks. */
function goBase64(text: string): string | undefined {
  const plain = text.replace(/[\r\n]/g, '');
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(plain) ? plain : undefined;
}

function readIdentity(
  value: unknown,
  path: readonly PathSegment[],
  source: Source,
): SignedIdentity | undefined {
  if (value === undefined) return defaultSignedIdentity;
  const type = (value as Json | null)?.['type'];
  const fields =
    typeof type === 'string' && Object.hasOwn(identityFields, type)
      ? identityFields[type as SignedIdentity['type']]
      : undefined;
  if (fields === undefined) {
    source.report(
      path,
      'this type of identity is unknown',
      `the known types are: ${Object.keys(identityFields).join(', ')}`,
    );
    return undefined;
  }
  const record = source.record(value, path, ['type', ...fields]) ?? {};
  const texts = Object.fromEntries(fields.map((field) => [field, record[field]]));
  for (const [field, text] of Object.entries(texts))
    if (typeof text !== 'string' || !isForm(field, text))
      source.report(
        [...path, field],
        `\`${field}\` is missing or not a valid name`,
        'write a name as in containers-policy.json(5)',
      );
  if (type !== 'exactRepository') return { type, ...texts } as unknown as SignedIdentity;
  // The library accepts a tag here and ignores it.
  const repository = texts['dockerRepository'];
  const name = typeof repository === 'string' ? parseDockerReference(repository)?.name : undefined;
  return name === undefined ? undefined : { type, dockerRepository: name };
}

function isForm(field: string, text: string): boolean {
  if (field === 'prefix' || field === 'signedPrefix') return isRemappingPrefix(text);
  const reference = parseDockerReference(text);
  return (
    reference !== undefined &&
    (field !== 'dockerReference' || reference.tag !== undefined || reference.digest !== undefined)
  );
}
