import { createHash } from 'node:crypto';
import type { NewFile } from './accept.ts';
import { readSnapshot, readTimestamp } from './remembered-files.ts';
import { signOnline } from './online-keys.ts';
import type { OnlineKey } from './online-keys.ts';

type Held = readonly { readonly id: string; readonly key: OnlineKey }[];

interface SnapshotInput {
  /** The snapshot before; what it says of other files stays. */
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

/** How long what the service signs is good for, in milliseconds (const.go of Notary 0.7.0: three years, fourteen days). */
const lifetime = { snapshot: 3 * 365 * day, timestamp: 14 * day } as const;

export function nextNotarySnapshot({ former, files, held, now }: SnapshotInput): NewFile {
  const known = former === undefined ? undefined : readSnapshot('notary', former).signed;
  const meta: Record<string, unknown> = {};
  for (const [role, { length, hashes }] of known?.meta ?? [])
    meta[role] = { length, hashes: Object.fromEntries(Object.entries(hashes).map(([name, hash]) => [name, base64(hash)])) };
  for (const { role, bytes } of files) meta[role] = notaryMeta(bytes);
  const version = (known?.version ?? 0) + 1;
  const signed = { _type: 'Snapshot', expires: new Date(now + lifetime.snapshot).toISOString(), meta, version };
  return { role: 'snapshot', version, bytes: signOnline('notary', signed, held) };
}

export function nextNotaryTimestamp({ former, snapshot, held, now }: TimestampInput): NewFile {
  const version = (former === undefined ? 0 : readTimestamp('notary', former).signed.version) + 1;
  const meta = { snapshot: notaryMeta(snapshot.bytes) };
  const signed = { _type: 'Timestamp', expires: new Date(now + lifetime.timestamp).toISOString(), meta, version };
  return { role: 'timestamp', version, bytes: signOnline('notary', signed, held) };
}

const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64');

function notaryMeta(bytes: Buffer): unknown {
  const hash = (algorithm: string): string => createHash(algorithm).update(bytes).digest('base64');
  return { hashes: { sha256: hash('sha256'), sha512: hash('sha512') }, length: bytes.length };
}

export function nextTufSnapshot({ former, files, held, now }: SnapshotInput): NewFile {
  const known = former === undefined ? undefined : readSnapshot('tuf', former).signed;
  const meta: Record<string, unknown> = {};
  for (const [role, { version, length, hashes }] of known?.meta ?? [])
    meta[`${role}.json`] = {
      version,
      ...(length === undefined ? {} : { length }),
      ...(Object.keys(hashes).length === 0 ? {} : { hashes }),
    };
  for (const file of files) meta[`${file.role}.json`] = tufMeta(file);
  return tufFile('snapshot', (known?.version ?? 0) + 1, meta, now, held);
}

export function nextTufTimestamp({ former, snapshot, held, now }: TimestampInput): NewFile {
  const version = (former === undefined ? 0 : readTimestamp('tuf', former).signed.version) + 1;
  return tufFile('timestamp', version, { 'snapshot.json': tufMeta(snapshot) }, now, held);
}

function tufFile(role: 'snapshot' | 'timestamp', version: number, meta: unknown, now: number, held: Held): NewFile {
  // The specification's times have no fractions (1.0.34, section 4.2.1).
  const expires = new Date(now + lifetime[role]).toISOString().replace(/\.\d+Z$/u, 'Z');
  const signed = { _type: role, spec_version: '1.0.34', version, expires, meta };
  return { role, version, bytes: signOnline('tuf', signed, held) };
}

function tufMeta({ version, bytes }: NewFile): unknown {
  return { version, length: bytes.length, hashes: { sha256: createHash('sha256').update(bytes).digest('hex') } };
}
