import type { FileMeta, Snapshot, Timestamp } from '../tuf-metadata/model.ts';
import type { NewFile } from './accept-input.ts';
import { digestsOf } from './digests.ts';
import { readSnapshot, readTimestamp, rememberFile } from './remembered-files.ts';
import { signOnline } from './online-keys.ts';
import type { OnlineKey } from './online-keys.ts';

type Held = readonly { readonly id: string; readonly key: OnlineKey }[];

interface SnapshotInput {
  /** The previous snapshot. What it says about other files is kept. */
  readonly former: Buffer | undefined;
  readonly files: readonly NewFile[];
  readonly held: Held;
  /** Milliseconds since 1970. */
  readonly now: number;
}

interface TimestampInput {
  readonly former: Buffer | undefined;
  readonly snapshot: NewFile;
  readonly held: Held;
  readonly now: number;
}

const day = 24 * 3600 * 1000;

/**
 * How long files signed by the service are valid, in milliseconds (const.go of Notary 0.7.0: three years,
 * fourteen days).
 */
const lifetime = { snapshot: 3 * 365 * day, timestamp: 14 * day } as const;

export function nextNotarySnapshot({ former, files, held, now }: SnapshotInput): NewFile {
  const known = former === undefined ? undefined : readSnapshot('notary', former).signed;
  const meta = new Map(known?.meta);
  for (const { role, bytes } of files) meta.set(role, notaryMeta(bytes));
  const expires = now + lifetime.snapshot;
  const signed: Snapshot = {
    dialect: 'notary',
    type: 'snapshot',
    version: (known?.version ?? 0) + 1,
    expires,
    meta,
  };
  return notaryFile(
    signed,
    { _type: 'Snapshot', meta: Object.fromEntries([...meta].map(([role, one]) => [role, inNotary(one)])) },
    held,
  );
}

export function nextNotaryTimestamp({ former, snapshot, held, now }: TimestampInput): NewFile {
  const version = (former === undefined ? 0 : readTimestamp('notary', former).signed.version) + 1;
  const named = notaryMeta(snapshot.bytes);
  const signed: Timestamp = {
    dialect: 'notary',
    type: 'timestamp',
    version,
    expires: now + lifetime.timestamp,
    snapshot: named,
  };
  return notaryFile(signed, { _type: 'Timestamp', meta: { snapshot: inNotary(named) } }, held);
}

function notaryFile(signed: Snapshot | Timestamp, body: object, held: Held): NewFile {
  const { version, type } = signed;
  const made = signOnline(
    'notary',
    { ...body, version, expires: new Date(signed.expires).toISOString() },
    held,
  );
  // The next publish starts by reading this file.
  rememberFile({ ...made, signed });
  return { role: type, version, bytes: made.bytes };
}

function notaryMeta(bytes: Buffer): FileMeta {
  return { version: undefined, length: bytes.length, hashes: { ...digestsOf(bytes) } };
}

function inNotary({ length, hashes }: FileMeta): object {
  return {
    length,
    hashes: Object.fromEntries(
      Object.entries(hashes).map(([name, hex]) => [name, Buffer.from(hex, 'hex').toString('base64')]),
    ),
  };
}

export function nextTufSnapshot({ former, files, held, now }: SnapshotInput): NewFile {
  const known = former === undefined ? undefined : readSnapshot('tuf', former).signed;
  const meta = new Map(known?.meta);
  for (const file of files) meta.set(file.role, tufMeta(file));
  const body = { meta: Object.fromEntries([...meta].map(([role, one]) => [`${role}.json`, inTuf(one)])) };
  return tufFile('snapshot', (known?.version ?? 0) + 1, body, now, held);
}

export function nextTufTimestamp({ former, snapshot, held, now }: TimestampInput): NewFile {
  const version = (former === undefined ? 0 : readTimestamp('tuf', former).signed.version) + 1;
  return tufFile('timestamp', version, { meta: { 'snapshot.json': inTuf(tufMeta(snapshot)) } }, now, held);
}

function tufFile(
  role: 'snapshot' | 'timestamp',
  version: number,
  body: object,
  now: number,
  held: Held,
): NewFile {
  // The times of the specification have no fractions (1.0.34, section 4.2.1).
  const expires = new Date(now + lifetime[role]).toISOString().replace(/\.\d+Z$/u, 'Z');
  return {
    role,
    version,
    bytes: signOnline('tuf', { _type: role, spec_version: '1.0.34', version, expires, ...body }, held).bytes,
  };
}

function tufMeta({ version, bytes }: NewFile): FileMeta {
  return { version, length: bytes.length, hashes: { sha256: digestsOf(bytes).sha256 } };
}

function inTuf({ version, length, hashes }: FileMeta): object {
  return {
    version,
    ...(length === undefined ? {} : { length }),
    ...(Object.keys(hashes).length === 0 ? {} : { hashes }),
  };
}
