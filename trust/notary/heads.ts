import { recordOf, parseStrictJson } from '../strict-json.ts';
import type { Upload } from './upload.ts';
import type { NewFile } from './accept-input.ts';
import { refuse } from './refusal.ts';
import type { Refusal } from './refusal.ts';

/** A file that was posted, read as far as JSON goes. */
export interface Head extends NewFile {
  readonly parsed: unknown;
}

/**
 * What an upload says of itself before anything is believed, part by part in their order: a role's name, JSON that no two readers
 * can read differently, a version (server/handlers/default.go of Notary 0.7.0).
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
  try {
    return parseStrictJson(bytes);
  } catch {
    return undefined;
  }
}

/** @returns undefined when it is not of the form `{ signed: { _type, expires, version }, signatures }` */
function versionOf(file: unknown): number | undefined {
  const outer = recordOf(file);
  const signed = recordOf(outer?.['signed']);
  const [version, signatures] = [signed?.['version'], outer?.['signatures']];
  if (signed === undefined || !Array.isArray(signatures)) return undefined;
  if (typeof signed['_type'] !== 'string' || typeof signed['expires'] !== 'string') return undefined;
  return Number.isSafeInteger(version) ? (version as number) : undefined;
}
