import { createHash } from 'node:crypto';
import type { PathSegment } from '../../base/schema/index.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { readCachedFile, readReferenced, refuseKeyText, report } from '../requirements/building.ts';
import type { Building, ReferencedFile } from '../requirements/building.ts';
import { readConstraints, refuseUnprovenAge } from '../requirements/constraints.ts';
import { recordOf, textsOf } from '../json/strict-json.ts';
import type { PolicyRoot, Requirement, SigstoreProof } from '../requirements/types.ts';
import { findPath } from '../x509/path.ts';
import { trustedRootOf } from './policy-root.ts';
import { distinctServices } from './trusted-root.ts';
import type { TrustedRoot } from './trusted-root.ts';
import { embeddedTrustedRoot, embeddedTrustedRootExpires, publicGoodTufUrl } from './seeds.ts';
import {
  cachedRootFile,
  cachedTimestampFile,
  defaultRootCache,
  expiryOfMetadata,
  maximumRootBytes,
} from './root-cache.ts';
import { publicGood } from './schema.ts';

type Json = Readonly<Record<string, unknown>>;

const keyAge = {
  why: 'nothing proves when the key made the signature',
  fix: 'add log: true: a transparency log proves the time',
};

/** Reads `cosign: { key, log }`. */
export async function readCosign(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<Requirement | undefined> {
  const record = recordOf(value) ?? {};
  const name = record['key'];
  if (typeof name !== 'string' || name === '') return undefined;
  if (refuseKeyText(building, [...path, 'key'], name)) return undefined;
  const read = await readReferenced(building, name);
  const key = 'problem' in read ? read : parsePublicKey(name, read.bytes.toString('utf8'));
  if ('problem' in key)
    report(
      building,
      [...path, 'key'],
      `the key file ${name} cannot be used: ${key.problem}`,
      key.problem === 'there is no such file'
        ? 'put the PEM public key there (portcullis sign --generate-key makes a key pair), or name another file, relative to this policy file'
        : 'name a PEM public key, relative to this policy file, such as cosign.pub',
    );
  const constraints = readConstraints(record, path, building);
  const log = await readLogDemand(record['log'], [...path, 'log'], building);
  if ('problem' in key || log === 'broken') return undefined;
  if (log === undefined && refuseUnprovenAge(constraints, path, building, keyAge)) return undefined;
  // cosign v3 signs with Ed25519ph for such keys, which Node's crypto lacks.
  if (key.type === 'ed25519') await loadPrehashed();
  return {
    kind: 'cosign-key',
    key,
    ...(log === undefined ? {} : { log }),
    ...(constraints === undefined ? {} : { constraints }),
  };
}

/** Reads `log: true`, a number of logs, or an object with its own root. */
async function readLogDemand(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<SigstoreProof | 'broken' | undefined> {
  if (value === undefined || value === false || value === 0) return undefined;
  const record = recordOf(value);
  if (record === undefined && value !== true && typeof value !== 'number') return 'broken';
  const root = await readRoot(record?.['root'], [...path, 'root'], building);
  if (root === undefined) return 'broken';
  const proof = {
    root,
    logs: countOf(record === undefined ? value : record['count'], 1),
    timeStamps: countOf(record?.['timestamp'], 0),
    certificateLogs: 0,
  };
  return isEnough(proof, path, building) ? proof : 'broken';
}

/** Reads `sigstore: { issuer, subject, … }`: a keyless signature. */
export async function readSigstore(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<Requirement | undefined> {
  const record = recordOf(value) ?? {};
  const { issuer, subject } = record;
  const root = await readRoot(record['root'], [...path, 'root'], building);
  const constraints = readConstraints(record, path, building);
  if (typeof issuer !== 'string' || typeof subject !== 'string' || issuer === '' || subject === '')
    return undefined;
  if (issuer.includes('*')) {
    report(
      building,
      [...path, 'issuer'],
      'an issuer is compared exactly, and this value contains a *',
      'write the full issuer, or use `any` with several requirements',
    );
    return undefined;
  }
  if (/^\*+$/.test(subject)) {
    report(
      building,
      [...path, 'subject'],
      'this subject matches every identity of the issuer',
      'say who may sign, such as "*@example.com"',
    );
    return undefined;
  }
  if (root === undefined) return undefined;
  const proof = {
    root,
    logs: countOf(record['log'], 1),
    timeStamps: countOf(record['timestamp'], 0),
    certificateLogs: countOf(record['certificateLog'], 1),
  };
  if (trustedRootOf(root).authorities.length === 0) {
    report(
      building,
      path,
      `the root ${root.name} names no certificate authority, so that no identity can ever sign`,
      'name another root',
    );
    return undefined;
  }
  if (!isEnough(proof, path, building)) return undefined;
  // Certificates may hold Ed25519 keys too.
  await loadPrehashed();
  const claims = textsOf(record['claims']);
  return {
    kind: 'sigstore',
    identity: { issuer, subject, ...(Object.keys(claims).length === 0 ? {} : { claims }) },
    proof,
    ...(constraints === undefined ? {} : { constraints }),
  };
}

function countOf(value: unknown, unless: number): number {
  if (value === undefined) return unless;
  return typeof value === 'number' ? value : value === true ? 1 : 0;
}

/** Returns whether the root names as many services as required, and whether a time can be proven at all. */
function isEnough(
  { root, logs, timeStamps, certificateLogs }: SigstoreProof,
  path: readonly PathSegment[],
  building: Building,
): boolean {
  const trusted = trustedRootOf(root);
  const before = building.problems.length;
  for (const [what, needed, known] of [
    ['transparency logs', logs, distinctServices(trusted.logs)],
    ['time stamp authorities', timeStamps, distinctServices(trusted.timeStampAuthorities)],
    ['certificate logs', certificateLogs, distinctServices(trusted.certificateLogs)],
  ] as const) {
    if (needed > known)
      report(
        building,
        path,
        `${needed} ${what} are required, but the root ${root.name} names ${known}: this can never be satisfied`,
        'name another root, or require fewer',
      );
  }
  if (logs === 0 && timeStamps === 0)
    report(
      building,
      path,
      'without a log entry and a time stamp nothing proves when it was signed',
      'require one of them: timestamp: true',
    );
  return building.problems.length === before;
}

async function readRoot(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<PolicyRoot | undefined> {
  const tuf = recordOf(recordOf(value)?.['tuf']);
  if (tuf !== undefined) return readCached(tuf, path, building);
  if (value !== undefined && typeof value !== 'string') return undefined;
  if (value !== undefined && refuseKeyText(building, path, value)) return undefined;
  if (value !== undefined && value !== publicGood)
    return rootOf(
      value,
      await readReferenced(building, value, maximumRootBytes),
      path,
      building,
      'name a trusted_root.json, relative to this policy file',
    );
  const carried = carriedRoot(publicGood, publicGoodTufUrl, path, building);
  if (carried !== undefined) return carried;
  const file = cachedRootFile(defaultRootCache, publicGoodTufUrl);
  const fix = 'update it: portcullis sigstore-root update';
  const read = await readCachedFile(building, file, maximumRootBytes);
  if ('problem' in read && read.problem === 'there is no such file') {
    // The root was never updated on this machine. The root that ships decides until it expires, is part of
    // the revision, and the file is watched.
    const bytes = embeddedTrustedRoot();
    const embedded = { bytes, digest: createHash('sha256').update(bytes).digest('hex') };
    building.references.set(file, embedded);
    const root = rootOf(publicGood, embedded, path, building, fix);
    return root === undefined
      ? undefined
      : { ...root, expires: new Date(embeddedTrustedRootExpires()).toISOString(), ships: true };
  }
  building.tufRoots?.set(file, { url: publicGoodTufUrl, cache: defaultRootCache });
  return rootOf(publicGood, read, path, building, fix);
}

async function readCached(
  tuf: Json,
  path: readonly PathSegment[],
  building: Building,
): Promise<PolicyRoot | undefined> {
  const { url, cache } = tuf;
  if (typeof url !== 'string') return undefined;
  const carried = carriedRoot(url, url, [...path, 'tuf'], building);
  if (carried !== undefined) return carried;
  const folder = typeof cache === 'string' ? cache : defaultRootCache;
  const file = cachedRootFile(folder, url);
  const where = typeof cache === 'string' ? ` --cache ${cache}` : '';
  const fix = `fetch it: portcullis sigstore-root update --url ${url} --root FILE${where}`;
  const root = rootOf(url, await readInCache(building, file), [...path, 'tuf'], building, fix);
  if (root === undefined) return undefined;
  const timestamp = await readInCache(building, cachedTimestampFile(folder, url));
  const expires = 'problem' in timestamp ? undefined : expiryOfMetadata(timestamp.bytes);
  if (expires === undefined) {
    report(building, [...path, 'tuf'], `the expiry of the trusted root of ${url} is not known`, fix);
    return undefined;
  }
  building.tufRoots?.set(file, { url, cache: folder, expires });
  return { ...root, expires: new Date(expires).toISOString() };
}

/** The policy names the cache: where it may not name any file, the problem is the same for all paths. */
async function readInCache(building: Building, file: string): Promise<ReferencedFile> {
  const read = await readCachedFile(building, file, maximumRootBytes);
  return 'problem' in read && building.within !== undefined ? { problem: 'it cannot be read' } : read;
}

/** Returns the root that came with the policy. Its bytes are part of the policy's revision. */
function carriedRoot(
  name: string,
  url: string,
  path: readonly PathSegment[],
  building: Building,
): PolicyRoot | undefined {
  const carried = building.carriedRoots?.get(url.replace(/\/+$/u, ''));
  if (carried === undefined) return undefined;
  const { content: bytes, expires } = carried;
  const read = { bytes, digest: createHash('sha256').update(bytes).digest('hex') };
  building.references.set(cachedRootFile(defaultRootCache, url), read);
  const root = rootOf(name, read, path, building, 'use an archive with a valid root');
  return root === undefined ? undefined : { ...root, expires: new Date(expires).toISOString() };
}

/**
 * Verifies the authorities' own paths in advance. The results are cached, so the first decision is not slowed
 * down by cold code.
 */
function warm({ authorities, timeStampAuthorities }: TrustedRoot): void {
  for (const { chain } of [...authorities, ...timeStampAuthorities]) {
    const [first] = chain;
    const anchor = chain.at(-1);
    if (first !== undefined && anchor !== undefined)
      findPath(first, { anchors: [anchor], intermediates: chain.slice(1, -1) }, []);
  }
}

function rootOf(
  name: string,
  read: { readonly bytes: Buffer } | { readonly problem: string },
  path: readonly PathSegment[],
  building: Building,
  fix: string,
): PolicyRoot | undefined {
  try {
    if ('problem' in read) throw new Error(read.problem);
    const root = {
      name,
      digest: createHash('sha256').update(read.bytes).digest('hex'),
      content: read.bytes.toString('base64'),
    };
    warm(trustedRootOf(root));
    return root;
  } catch (error) {
    report(building, path, `the trusted root ${name} cannot be used: ${(error as Error).message}`, fix);
    return undefined;
  }
}
