import { attempt } from '../../base/errors/index.ts';
import { recordOf, parseStrictJson } from '../json/strict-json.ts';
import type { Upload } from './upload.ts';
import type { NewFile } from './accept-input.ts';
import { refuse } from './refusal.ts';
import type { Refusal } from './refusal.ts';

/** A posted file, parsed only as far as its JSON. */
export interface Head extends NewFile {
  readonly parsed: unknown;
}

/**
 * Reads what each part of an upload states about itself before anything is trusted, part by part in order:
 * the name of a role, JSON that all readers parse alike, a version (server/handlers/default.go of Notary
 * 0.7.0).
 */
export function readHeads(uploads: readonly Upload[], isRole: (name: string) => boolean): Head[] | Refusal {
  const heads: Head[] = [];
  for (const { name, bytes } of uploads) {
    const role = name.endsWith('.json') ? name.slice(0, -'.json'.length) : name;
    if (role === '') return refuse('NO_FILENAME');
    if (!isRole(role)) return refuse('INVALID_ROLE', role);
    const parsed = parse(bytes);
    const version = versionOf(parsed);
    if (version === undefined) return refuse('MALFORMED_JSON');
    heads.push({ role, version, bytes, parsed });
  }
  return heads;
}

function parse(bytes: Buffer): unknown {
  return attempt(() => parseStrictJson(bytes));
}

/**
 * Returns the version of a file.
 * @returns undefined when the file does not have the form `{ signed: { _type, expires, version }, signatures
 * }`
 */
function versionOf(file: unknown): number | undefined {
  const outer = recordOf(file);
  const signed = recordOf(outer?.['signed']);
  const [version, signatures] = [signed?.['version'], outer?.['signatures']];
  if (signed === undefined || !Array.isArray(signatures)) return undefined;
  if (typeof signed['_type'] !== 'string' || typeof signed['expires'] !== 'string') return undefined;
  return Number.isSafeInteger(version) ? (version as number) : undefined;
}
