import { parseJson } from '../../base/json/index.ts';
import type { Signer } from '../signers/signer.ts';
import { tufCanonicalJson } from '../tuf-metadata/canonical.ts';
import { readNotaryKey, readTufKey, signedBy } from '../tuf-metadata/keys.ts';
import type { Dialect, TopRole } from '../tuf-metadata/model.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { Json } from '../tuf-metadata/reading.ts';
import { signAs } from './keys.ts';
import { textOf } from '../json/strict-json.ts';
import type { ListedKey } from '../tuf-metadata/listed-key.ts';

/**
 * The role whose signatures a file needs, and how many it needs. A root also needs the signatures of the root
 * before it.
 */
export interface Demand {
  readonly by: string;
  readonly keys: readonly ListedKey[];
  readonly threshold: number;
}

/** Returns the signer that holds a key, if one is available here. */
export type FindSigner = (key: ListedKey) => Promise<Signer | undefined>;

/** A file that is to be signed. */
export interface Draft {
  readonly role: string;
  readonly type: TopRole;
  readonly version: number;
  /** The complete `signed` value. */
  readonly signed: Json;
  readonly demands: readonly Demand[];
}

/** The part of a demand that is not met. */
export interface MissingSignatures {
  readonly role: string;
  readonly by: string;
  readonly have: number;
  readonly threshold: number;
  /** Ids of keys that could still sign. */
  readonly keyids: readonly string[];
}

export interface SignedDraft {
  readonly bytes: Buffer;
  readonly missing: readonly MissingSignatures[];
}

/**
 * Signs a draft with every available key of its demands, and keeps the valid signatures that other users
 * made. A draft that has all signatures already is left as it is: a snapshot names its bytes.
 * @param former the same draft as other users have signed it
 * @throws the errors of a signer
 */
export async function signDraft(
  dialect: Dialect,
  draft: Draft,
  find: FindSigner,
  former?: Buffer,
): Promise<SignedDraft> {
  const message = tufCanonicalJson(draft.signed);
  const keys = new Map(draft.demands.flatMap((demand) => demand.keys).map((key) => [key.id, key]));
  const signatures = new Map<string, Json>();
  const withSignatures = (): SignedDraft => {
    const bytes = Buffer.concat([
      Buffer.from('{"signed":'),
      written(message, draft.signed),
      Buffer.from(`,"signatures":${JSON.stringify([...signatures.values()])}}`),
    ]);
    return { bytes, missing: missingOf(dialect, draft, bytes) };
  };
  if (former !== undefined)
    for (const [id, signature] of rightSignatures(dialect, draft, former, keys))
      signatures.set(id, signature);
  const before = signatures.size === 0 ? undefined : withSignatures();
  if (before?.missing.length === 0) return before;
  for (const key of keys.values()) {
    const signer = signatures.has(key.id) ? undefined : await find(key);
    if (signer !== undefined) signatures.set(key.id, await signAs(dialect, signer, key, message));
  }
  return withSignatures();
}

/**
 * Writes the draft in canonical form. Notary's clients rewrite a root in canonical form before they hash it,
 * so other bytes would be a different root to them. Canonical JSON leaves control characters unescaped, which
 * JSON does not allow.
 */
function written(canonical: Buffer, signed: Json): Buffer {
  return canonical.some((byte) => byte < 0x20) ? Buffer.from(JSON.stringify(signed)) : canonical;
}

/**
 * Returns the signatures that a file lacks, as the demands of the draft name them. A signature that does not
 * verify counts as missing.
 */
export function missingOf(
  dialect: Dialect,
  { role, type, demands }: Pick<Draft, 'role' | 'type' | 'demands'>,
  bytes: Buffer,
): MissingSignatures[] {
  const signed = signersOf(dialect, type, bytes);
  return demands.flatMap(({ by, keys, threshold }) => {
    const found = new Set(keys.filter((key) => signed(key)).map(({ material }) => material));
    const keyids = keys.filter(({ material }) => !found.has(material)).map(({ id }) => id);
    return found.size >= threshold ? [] : [{ role, by, have: found.size, threshold, keyids }];
  });
}

function signersOf(dialect: Dialect, type: TopRole, bytes: Buffer): (key: ListedKey) => boolean {
  const { signatures, message } = readMetadata(dialect, type, bytes);
  const read = dialect === 'tuf' ? readTufKey : readNotaryKey;
  return ({ id, entry }) =>
    signatures.some((one) => one.keyid === id && signedBy(read(id, entry), message, one.bytes));
}

/** Returns the signatures of a partly signed file that cover exactly this draft. */
function rightSignatures(
  dialect: Dialect,
  { type, signed }: Draft,
  former: Buffer,
  keys: ReadonlyMap<string, ListedKey>,
): [string, Json][] {
  const { message } = readMetadata(dialect, type, former);
  if (!message.equals(tufCanonicalJson(signed))) return [];
  const byKey = signersOf(dialect, type, former);
  const { signatures } = parseJson(former.toString('utf8')) as { signatures: Json[] };
  return signatures.flatMap((signature): [string, Json][] => {
    const key = keys.get(textOf(signature['keyid']) ?? '');
    return key !== undefined && byKey(key) ? [[key.id, signature]] : [];
  });
}
