import { parseJson } from '../../base/json/index.ts';
import { canonicalJson } from '../json/canonical-json.ts';
import { recordOf } from '../json/strict-json.ts';

/**
 * A verdict that was given and is about to be used. Its text, dossier and policy are stored beside the log
 * under the digests in this entry.
 */
export interface VerdictEntry {
  readonly kind: 'verdict';
  /** When the row was made, ISO 8601. */
  readonly time: string;
  /** The verdict's id: the digest of its text. */
  readonly verdict: string;
  readonly outcome: 'admit' | 'deny' | 'undecided';
  readonly reference: string;
  readonly namespace: string;
  readonly digest: string;
  /** The time that the decision was made for. */
  readonly decidedAt: string;
  readonly dossier: string;
  readonly policyRevision: string;
  /** Digest of the stored policy; empty in rows of versions that kept none. */
  readonly policy: string;
}

/** Checkpoints are signed by this key from here on. */
export interface KeyEntry {
  readonly kind: 'key';
  readonly time: string;
  /** In the form of C2SP signed-note: `NAME+HASH+BASE64`. */
  readonly key: string;
}

/** Texts that only rows up to `through` refer to were dropped. */
export interface RetentionEntry {
  readonly kind: 'retention';
  readonly time: string;
  readonly through: number;
  /** The configured retention, days. */
  readonly days: number;
}

/** A plugin of the node changed what a container asks for, within the ceilings of its verdict. */
export interface AdjustmentEntry {
  readonly kind: 'adjustment';
  readonly time: string;
  /** The verdict that the container runs under. */
  readonly verdict: string;
  readonly container: string;
  /** JSON: a list of changes, each with the plugin, the field, and the new value unless it may be secret. */
  readonly changes: string;
}

export type LogEntry = VerdictEntry | KeyEntry | RetentionEntry | AdjustmentEntry;

/**
 * A row of a kind that a later version writes. Its hash is chained as any other, and its content means
 * nothing here: a verifier counts it, and does not report the log as broken.
 */
export interface UnknownEntry {
  readonly kind: 'unknown';
  readonly time: string;
  /** The kind that the row names. */
  readonly named: string;
}

const fields: Readonly<Record<LogEntry['kind'], readonly string[]>> = {
  verdict: [
    'time',
    'verdict',
    'outcome',
    'reference',
    'namespace',
    'digest',
    'decidedAt',
    'dossier',
    'policyRevision',
    'policy',
  ],
  key: ['time', 'key'],
  retention: ['time', 'through', 'days'],
  adjustment: ['time', 'verdict', 'container', 'changes'],
};
/** `unknown` is how a reader calls the others. */
const kindName = /^(?!unknown$)[a-z][a-z-]{0,63}$/u;
const numbers: readonly string[] = ['through', 'days'];

/**
 * Parses an entry's text. Returns a sentence when no version writes such an entry. Rows of each kind, also of
 * a later one, are canonical JSON with a kind in lower case and the time.
 */
export function parseEntry(text: string): LogEntry | UnknownEntry | { readonly problem: string } {
  let value: Readonly<Record<string, unknown>> | undefined;
  try {
    value = recordOf(parseJson(text));
  } catch {
    return { problem: 'its entry is not JSON' };
  }
  const kind = value?.['kind'];
  if (value === undefined || typeof kind !== 'string' || !kindName.test(kind))
    return { problem: 'its entry names no kind' };
  if (!Object.hasOwn(fields, kind)) {
    const { time } = value;
    return typeof time === 'string' && canonicalJson(value) === text
      ? { kind: 'unknown', time, named: kind }
      : { problem: 'its entry has an unknown kind, and does not have the form of an entry' };
  }
  const expected = fields[kind as LogEntry['kind']];
  const right = expected.every(
    (field) => typeof value[field] === (numbers.includes(field) ? 'number' : 'string'),
  );
  if (!right || Object.keys(value).length !== expected.length + 1)
    return { problem: `its entry is not a complete ${kind} entry` };
  if (canonicalJson(value) !== text) return { problem: 'its entry is not in canonical form' };
  return value as unknown as LogEntry;
}
