import { decodeBase64, parseStrictJson, recordOf, textOf } from '../json/strict-json.ts';
import { standardBase64 } from '../keys/dsse.ts';
import { entryFields } from '../signers/rekor-v2.ts';

/** The signed content: an envelope, or a signature over the artifact itself. */
export type BundleContent =
  | {
      readonly kind: 'dsse';
      readonly payloadType: string;
      readonly payload: Buffer;
      readonly signature: Buffer;
    }
  | {
      readonly kind: 'message';
      readonly signature: Buffer;
      readonly digest?: { readonly algorithm: string; readonly value: Buffer };
    };

/** An entry of a transparency log, as a bundle carries it. */
export interface LogEntry {
  readonly logId: string;
  /** Index in the whole log, in decimal. */
  readonly logIndex: string;
  readonly kind: string;
  readonly version: string;
  /** Seconds since 1970; 0 when the log states none (Rekor v2). */
  readonly integratedTime: number;
  /** The signed entry timestamp (SET). */
  readonly promise?: Buffer;
  readonly proof?: InclusionProof;
  readonly body: Buffer;
}

export interface InclusionProof {
  readonly index: bigint;
  readonly size: bigint;
  /** Absent when the value is not a hash. */
  readonly root?: Buffer;
  readonly hashes: readonly Buffer[];
  /** A signed note. */
  readonly checkpoint: string;
}

/**
 * A sigstore bundle of version 0.1, 0.2 or 0.3 (sigstore/protobuf-specs sigstore_bundle.proto), or the
 * content of cosign's older forms.
 */
export interface Bundle {
  /** `legacy`: built from cosign's annotations. */
  readonly version: '0.1' | '0.2' | '0.3' | 'legacy';
  readonly content: BundleContent;
  /** Certificates in DER, the signer's first; or the hint of a key; or neither, for a bare envelope. */
  readonly certificates: readonly Buffer[];
  readonly keyHint?: string;
  readonly logEntries: readonly LogEntry[];
  /** DER of RFC 3161 timestamps. */
  readonly timeStamps: readonly Buffer[];
  /**
   * Bytes that the timestamps may cover instead of the signature: in cosign's older attestations, they cover
   * the whole envelope.
   */
  readonly stamped?: Buffer;
}

const versions: ReadonlyMap<unknown, Bundle['version']> = new Map([
  ['application/vnd.dev.sigstore.bundle+json;version=0.1', '0.1'],
  ['application/vnd.dev.sigstore.bundle+json;version=0.2', '0.2'],
  ['application/vnd.dev.sigstore.bundle+json;version=0.3', '0.3'],
  ['application/vnd.dev.sigstore.bundle.v0.3+json', '0.3'],
]);

/** Each item costs at least one signature verification. No signer creates nearly as many. */
const maximumOfEach = 16;
/**
 * The latest time that a Date can hold. A log that signs a later one would make every attempt to print it
 * fail.
 */
export const latestSecond = 8_640_000_000_000;
const maximumProofHashes = 64;
const maximumCertificates = 6;

type Json = Readonly<Record<string, unknown>>;

/**
 * The fields of each message. Any other field is an error, as in protobuf's JSON: a misspelled field must not
 * be taken for an absent one.
 */
const fields = {
  bundle: ['mediaType', 'verificationMaterial', 'messageSignature', 'dsseEnvelope'],
  material: ['publicKey', 'x509CertificateChain', 'certificate', 'tlogEntries', 'timestampVerificationData'],
  envelope: ['payload', 'payloadType', 'signatures'],
  signature: ['sig', 'keyid'],
  message: ['messageDigest', 'signature'],
  digest: ['algorithm', 'digest'],
  publicKey: ['hint'],
  certificate: ['rawBytes'],
  chain: ['certificates'],
  entry: entryFields,
  logId: ['keyId'],
  kindVersion: ['kind', 'version'],
  promise: ['signedEntryTimestamp'],
  proof: ['logIndex', 'rootHash', 'treeSize', 'hashes', 'checkpoint'],
  checkpoint: ['envelope'],
  timeStamps: ['rfc3161Timestamps'],
  timeStamp: ['signedTimestamp'],
} as const;

function checked(record: Json, message: keyof typeof fields): Json {
  const known: readonly string[] = fields[message];
  const unknown = Object.keys(record).find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`it has the unknown field ${JSON.stringify(unknown.slice(0, 100))}`);
  return record;
}

/**
 * Reads a bundle.
 * @throws Error with a sentence that states the fault and its location
 */
export function readBundle(bytes: Uint8Array): Bundle {
  const bundle = recordOf(parseStrictJson(bytes));
  const version = versions.get(bundle?.['mediaType']);
  if (bundle === undefined || version === undefined)
    throw new Error('it is not a sigstore bundle of version 0.1, 0.2 or 0.3');
  checked(bundle, 'bundle');
  const material = present(bundle['verificationMaterial'], 'material');
  if (material === undefined) throw new Error('its verificationMaterial is missing');
  const envelope = present(bundle['dsseEnvelope'], 'envelope');
  const message = present(bundle['messageSignature'], 'message');
  if ((envelope === undefined) === (message === undefined))
    throw new Error('it does not have exactly one of dsseEnvelope and messageSignature');
  const logEntries = listOf(material['tlogEntries'], 'tlogEntries', 'entry').map((entry, index) =>
    readLogEntry(entry, `tlogEntries[${index}]`, version),
  );
  const stamps = present(material['timestampVerificationData'], 'timeStamps')?.['rfc3161Timestamps'];
  return {
    version,
    content: envelope === undefined ? readMessage(message as Json) : readEnvelope(envelope),
    ...readSigner(material, version),
    logEntries,
    timeStamps: listOf(stamps, 'rfc3161Timestamps', 'timeStamp').map((stamp, index) =>
      bytesOf(stamp['signedTimestamp'], `rfc3161Timestamps[${index}].signedTimestamp`),
    ),
  };
}

/** Reads a DSSE envelope with exactly one signature, as bundles require. @throws Error */
export function readEnvelope(envelope: Json): BundleContent {
  const payloadType = envelope['payloadType'];
  if (typeof payloadType !== 'string' || payloadType === '')
    throw new Error('its envelope has no payloadType');
  const signatures = envelope['signatures'];
  if (!Array.isArray(signatures) || signatures.length !== 1)
    throw new Error('its envelope does not have exactly one signature');
  return {
    kind: 'dsse',
    payloadType,
    payload: bytesOf(standardBase64(envelope['payload']), 'payload'),
    signature: bytesOf(standardBase64(present(signatures[0], 'signature')?.['sig']), 'signatures[0].sig'),
  };
}

function readMessage(message: Json): BundleContent {
  const signature = bytesOf(message['signature'], 'messageSignature.signature');
  const digest = present(message['messageDigest'], 'digest');
  if (digest === undefined) return { kind: 'message', signature };
  const value = bytesOf(digest['digest'], 'messageDigest.digest');
  return { kind: 'message', signature, digest: { algorithm: textOf(digest['algorithm']) ?? '', value } };
}

function readSigner(material: Json, version: Bundle['version']): Pick<Bundle, 'certificates' | 'keyHint'> {
  const certificate = present(material['certificate'], 'certificate');
  const chain = present(material['x509CertificateChain'], 'chain');
  const key = present(material['publicKey'], 'publicKey');
  if ([certificate, chain, key].filter((part) => part !== undefined).length !== 1)
    throw new Error('it does not have exactly one of certificate, x509CertificateChain and publicKey');
  if (key !== undefined)
    return { certificates: [], keyHint: typeof key['hint'] === 'string' ? key['hint'] : '' };
  if (certificate !== undefined)
    return { certificates: [bytesOf(certificate['rawBytes'], 'certificate.rawBytes')] };
  // sigstore_bundle.proto: from version 0.3 on, there is one certificate and no chain.
  if (version === '0.3') throw new Error('a bundle of version 0.3 has no x509CertificateChain');
  const certificates = listOf(chain?.['certificates'], 'certificates', 'certificate').map((entry, index) =>
    bytesOf(entry['rawBytes'], `certificates[${index}].rawBytes`),
  );
  if (certificates.length === 0 || certificates.length > maximumCertificates)
    throw new Error(`its certificate chain does not have 1 to ${maximumCertificates} certificates`);
  return { certificates };
}

function readLogEntry(entry: Json, where: string, version: Bundle['version']): LogEntry {
  const kindVersion = present(entry['kindVersion'], 'kindVersion');
  const logId = present(entry['logId'], 'logId')?.['keyId'];
  if (typeof logId !== 'string' || decodeBase64(logId) === undefined)
    throw new Error(`${where}.logId.keyId is missing or not base64`);
  const promise = present(entry['inclusionPromise'], 'promise');
  // Some bundles of version 0.1 have a proof without a checkpoint, which proves nothing. They rely on the
  // promise.
  const written = present(entry['inclusionProof'], 'proof');
  const proof = version === '0.1' && written?.['checkpoint'] === undefined ? undefined : written;
  const integratedTime = Number(countOf(entry['integratedTime'] ?? '0', `${where}.integratedTime`));
  if (integratedTime > latestSecond) throw new Error(`${where}.integratedTime is not a time`);
  return {
    logId,
    logIndex: countOf(entry['logIndex'] ?? '0', `${where}.logIndex`).toString(),
    kind: textOf(kindVersion?.['kind']) ?? '',
    version: textOf(kindVersion?.['version']) ?? '',
    integratedTime,
    ...(promise === undefined
      ? {}
      : { promise: bytesOf(promise['signedEntryTimestamp'], `${where}.signedEntryTimestamp`) }),
    ...(proof === undefined ? {} : { proof: readProof(proof, `${where}.inclusionProof`) }),
    body: bytesOf(entry['canonicalizedBody'], `${where}.canonicalizedBody`),
  };
}

function readProof(proof: Json, where: string): InclusionProof {
  const hashes = proof['hashes'] ?? [];
  if (!Array.isArray(hashes) || hashes.length > maximumProofHashes)
    throw new Error(`${where}.hashes is not a list of at most ${maximumProofHashes}`);
  const checkpoint = present(proof['checkpoint'], 'checkpoint')?.['envelope'];
  if (typeof checkpoint !== 'string' || checkpoint === '') throw new Error(`${where}.checkpoint is missing`);
  // This copy of the checkpoint's root is not signed, and some clients never read it (sigstore-go for Rekor
  // v2, @sigstore/verify). It may therefore not be a hash at all (@sigstore/mock). When it is one, it must be
  // correct.
  const root = decodeBase64(proof['rootHash'] ?? '');
  if (root === undefined) throw new Error(`${where}.rootHash is not base64`);
  return {
    index: countOf(proof['logIndex'] ?? '0', `${where}.logIndex`),
    size: countOf(proof['treeSize'] ?? '0', `${where}.treeSize`),
    ...(root.length === 32 ? { root } : {}),
    hashes: hashes.map((hash: unknown, index) => bytesOf(hash, `${where}.hashes[${index}]`)),
    checkpoint,
  };
}

/** Reads an integer: protobuf's JSON writes 64-bit integers as decimal text; numbers are accepted too. */
function countOf(value: unknown, where: string): bigint {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || !/^(0|[1-9]\d{0,18})$/.test(text))
    throw new Error(`${where} is not a count`);
  return BigInt(text);
}

function bytesOf(value: unknown, where: string): Buffer {
  const bytes = decodeBase64(value);
  if (bytes === undefined || bytes.length === 0) throw new Error(`${where} is missing or not base64`);
  return bytes;
}

function listOf(value: unknown, where: string, message: keyof typeof fields): readonly Json[] {
  const list = value ?? [];
  if (!Array.isArray(list) || list.length > maximumOfEach)
    throw new Error(`${where} is not a list of at most ${maximumOfEach}`);
  return list.map((entry: unknown, index) => {
    const record = recordOf(entry);
    if (record === undefined) throw new Error(`${where}[${index}] is not an object`);
    return checked(record, message);
  });
}

/** Returns a message that is present; protobuf's JSON treats null as absent. */
function present(value: unknown, message: keyof typeof fields): Json | undefined {
  if (value === undefined || value === null) return undefined;
  const record = recordOf(value);
  if (record === undefined) throw new Error('one of its messages is not an object');
  return checked(record, message);
}
