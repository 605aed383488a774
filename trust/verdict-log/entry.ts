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

/** A plugin of the node changed what a container asks for, before the ceilings of its verdict applied. */
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
const numbers: readonly string[] = ['through', 'days'];

/** Parses an entry's text. Returns a sentence when this program does not write such an entry. */
export function parseEntry(text: string): LogEntry | { readonly problem: string } {
  let value: Readonly<Record<string, unknown>> | undefined;
  try {
    value = recordOf(parseJson(text));
  } catch {
    return { problem: 'its entry is not JSON' };
  }
  const kind = value?.['kind'];
  if (value === undefined || typeof kind !== 'string' || !Object.hasOwn(fields, kind))
    return { problem: 'its entry is of no known kind' };
  const expected = fields[kind as LogEntry['kind']];
  const right = expected.every(
    (field) => typeof value[field] === (numbers.includes(field) ? 'number' : 'string'),
  );
  if (!right || Object.keys(value).length !== expected.length + 1)
    return { problem: `its entry is not a whole ${kind} entry` };
  if (canonicalJson(value) !== text) return { problem: 'its entry is not in canonical form' };
  return value as unknown as LogEntry;
}
