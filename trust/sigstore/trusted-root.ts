import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { decodeBase64, parseStrictJson, recordOf, textOf } from '../json/strict-json.ts';
import { keyFlaw } from '../keys/key-flaw.ts';
import { readCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { digestOfKeyDetails } from './key-details.ts';
import { readRfc3339 } from '../json/rfc3339.ts';

/** Milliseconds since 1970; both ends are inclusive. */
export interface ValidityPeriod {
  readonly start: number;
  readonly end: number;
}

/** A transparency log, of artifacts (Rekor) or certificates (CT). */
export interface TransparencyLog {
  readonly name: string;
  /** Who operates it, if the root states it (version 0.2). Services of one operator count once. */
  readonly operator?: string;
  /** logId.keyId, base64. */
  readonly id: string;
  /** checkpointKeyId.keyId, base64, if the root states it. */
  readonly checkpointId?: string;
  readonly key: KeyObject;
  /** The digest of its signatures; null for Ed25519 and ML-DSA. */
  readonly digest: string | null;
  readonly validFor: ValidityPeriod;
}

/** Fulcio, or a timestamp authority. `chain` runs from the issuing (or signing) certificate to the anchor. */
export interface CertificateAuthority {
  readonly name: string;
  /** See {@link TransparencyLog.operator}. */
  readonly operator?: string;
  readonly chain: readonly Certificate[];
  readonly validFor: ValidityPeriod;
}

/** The sigstore services to trust (sigstore/protobuf-specs sigstore_trustroot.proto). */
export interface TrustedRoot {
  readonly logs: readonly TransparencyLog[];
  readonly certificateLogs: readonly TransparencyLog[];
  readonly authorities: readonly CertificateAuthority[];
  readonly timeStampAuthorities: readonly CertificateAuthority[];
  /** Members whose key type this version does not know; their signatures never count. */
  readonly ignored: readonly string[];
}

const mediaTypes: readonly unknown[] = [
  'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  'application/vnd.dev.sigstore.trustedroot+json;version=0.2',
  'application/vnd.dev.sigstore.trustedroot.v0.1+json',
  'application/vnd.dev.sigstore.trustedroot.v0.2+json',
];
const maximumMembers = 256;
const maximumChain = 8;

/**
 * Reads a `trusted_root.json`. Strict: every log needs the start of its validity, a readable key and an
 * identity; every authority needs a readable chain. An authority without a start is limited only by its
 * certificates, as in sigstore-go and @sigstore/verify.
 * @throws Error with a sentence that names the member and states the fault
 */
export function readTrustedRoot(bytes: Uint8Array): TrustedRoot {
  const root = recordOf(parseStrictJson(bytes));
  if (root === undefined || !mediaTypes.includes(root['mediaType']))
    throw new Error(
      'it is not a sigstore trusted root (its mediaType is not one of application/vnd.dev.sigstore.trustedroot…)',
    );
  const ignored: string[] = [];
  return {
    logs: membersOf(root, 'tlogs').flatMap((member, index) => readLog(member, `tlogs[${index}]`, ignored)),
    certificateLogs: membersOf(root, 'ctlogs').flatMap((member, index) =>
      readLog(member, `ctlogs[${index}]`, ignored),
    ),
    authorities: membersOf(root, 'certificateAuthorities').map((member, index) =>
      readAuthority(member, `certificateAuthorities[${index}]`),
    ),
    timeStampAuthorities: membersOf(root, 'timestampAuthorities').map((member, index) =>
      readAuthority(member, `timestampAuthorities[${index}]`),
    ),
    ignored,
  };
}

type Json = Readonly<Record<string, unknown>>;

function membersOf(root: Json, name: string): readonly Json[] {
  const list = root[name] ?? [];
  if (!Array.isArray(list) || list.length > maximumMembers)
    throw new Error(`${name} is not a list of at most ${maximumMembers}`);
  return list.map((entry: unknown, index) => {
    const record = recordOf(entry);
    if (record === undefined) throw new Error(`${name}[${index}] is not an object`);
    return record;
  });
}

function readLog(member: Json, where: string, ignored: string[]): readonly TransparencyLog[] {
  const publicKey = recordOf(member['publicKey']);
  const bytes = decodeBase64(publicKey?.['rawBytes']);
  if (publicKey === undefined || bytes === undefined)
    throw new Error(`${where}.publicKey.rawBytes is missing or not base64`);
  const validFor = readPeriod(publicKey['validFor'], `${where}.publicKey`);
  const id = recordOf(member['logId'])?.['keyId'];
  const checkpointId = recordOf(member['checkpointKeyId'])?.['keyId'];
  if (typeof id !== 'string' || (decodeBase64(id)?.length ?? 0) < 4)
    throw new Error(`${where}.logId.keyId is missing or not base64`);
  const details = textOf(publicKey['keyDetails']) ?? 'no keyDetails';
  const digest = digestOfKeyDetails(details);
  if (digest === undefined) {
    ignored.push(`${where}: ${details.slice(0, 100)}`);
    return [];
  }
  let key: KeyObject;
  try {
    key = createPublicKey({
      key: bytes,
      format: 'der',
      type: details.startsWith('PKCS1_') ? 'pkcs1' : 'spki',
    });
  } catch {
    throw new Error(`${where}.publicKey cannot be read as ${details}`);
  }
  const flaw = keyFlaw(key);
  if (flaw !== undefined) throw new Error(`${where}.publicKey cannot be used: ${flaw}`);
  const named = typeof checkpointId === 'string' && checkpointId !== '' ? { checkpointId } : {};
  const name = nameOf(member['baseUrl'], where);
  return [{ name, ...operatorOf(member, where), id, ...named, key, digest, validFor }];
}

function readAuthority(member: Json, where: string): CertificateAuthority {
  const certificates = recordOf(member['certChain'])?.['certificates'];
  if (!Array.isArray(certificates) || certificates.length === 0 || certificates.length > maximumChain)
    throw new Error(`${where}.certChain.certificates is not a list of 1 to ${maximumChain}`);
  const chain = certificates.map((entry: unknown, index) => {
    const bytes = decodeBase64(recordOf(entry)?.['rawBytes']);
    if (bytes === undefined)
      throw new Error(`${where}.certChain.certificates[${index}].rawBytes is missing or not base64`);
    try {
      return readCertificate(bytes);
    } catch (error) {
      throw new Error(`${where}.certChain.certificates[${index}]: ${(error as Error).message}`, {
        cause: error,
      });
    }
  });
  return {
    name: nameOf(member['uri'], where),
    ...operatorOf(member, where),
    chain,
    validFor: readPeriod(member['validFor'], where, Number.NEGATIVE_INFINITY),
  };
}

/**
 * Reads a validity period. @param without the start of a period that states none; absent: a start is required
 */
function readPeriod(value: unknown, where: string, without?: number): ValidityPeriod {
  const period = recordOf(value ?? {});
  const begun = period?.['start'] ?? undefined;
  const start = begun === undefined && period !== undefined ? without : readRfc3339(begun);
  if (start === undefined)
    throw new Error(
      `${where}.validFor.start is missing or not a time: without it, nothing would limit the trust in it`,
    );
  const written = period?.['end'];
  const end = written === undefined || written === null ? Number.POSITIVE_INFINITY : readRfc3339(written);
  if (end === undefined || end < start)
    throw new Error(`${where}.validFor.end is not a time after its start`);
  return { start, end };
}

function nameOf(url: unknown, where: string): string {
  // Names become part of reasons that users read in terminals.
  return typeof url === 'string' && url !== '' ? url.slice(0, 255).replace(/[^\x21-\x7e]/g, '?') : where;
}

function operatorOf(member: Json, where: string): { readonly operator?: string } {
  const operator = member['operator'] ?? '';
  if (typeof operator !== 'string') throw new Error(`${where}.operator is not text`);
  return operator === '' ? {} : { operator };
}

/**
 * Returns how many services count towards a threshold: those of one operator count once
 * (sigstore_trustroot.proto). A service without an operator counts for itself.
 */
export function distinctServices(
  services: readonly (Pick<TransparencyLog, 'name' | 'operator'> & { readonly id?: string })[],
): number {
  return new Set(
    services.map(({ operator, id, name }) => (operator === undefined ? `= ${id ?? name}` : `by ${operator}`)),
  ).size;
}

/** Returns whether a time (milliseconds) is within the period; both ends are inclusive. */
export function isWithin(time: number, { start, end }: ValidityPeriod): boolean {
  return time >= start && time <= end;
}
