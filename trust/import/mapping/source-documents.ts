import { PortcullisError } from '../../../base/errors/index.ts';
import { readPem, writePem } from '../../../base/pem/index.ts';
import { describeProblems, formatPath } from '../../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../../base/schema/index.ts';
import { parsePublicKey } from '../../keys/public-key.ts';
import { readPolicyFiles } from '../../policy/documents.ts';
import { recordOf } from '../../json/strict-json.ts';
import type { ImportedPolicy, ImportedRule, Unmapped } from './imported.ts';

type Json = Readonly<Record<string, unknown>>;

/** An import in progress: the parts that were read, and the result so far. */
export interface Importing {
  readonly document: Document;
  readonly rules: ImportedRule[];
  readonly files: { name: string; bytes: Uint8Array }[];
  readonly unmapped: Unmapped[];
}

/**
 * Reads Kubernetes documents of some kinds from files and folders, including lists of them, and passes each
 * to `read`.
 * @throws PortcullisError `TRUST_IMPORT_INVALID` with every problem and its position, also when no document
 * has one of these kinds
 */
export async function importDocuments(
  paths: readonly string[],
  isOurs: (document: Json) => boolean,
  what: string,
  read: (value: Json, path: readonly PathSegment[], importing: Importing) => void,
  standardInput?: Uint8Array,
): Promise<ImportedPolicy> {
  const { documents, problems } = await readPolicyFiles(paths, standardInput);
  const result = { rules: [] as ImportedRule[], files: [] as Importing['files'], unmapped: [] as Unmapped[] };
  let found = 0;
  for (const document of documents) {
    for (const [value, path] of itemsOf(document.value)) {
      if (!isOurs(value)) continue;
      found += 1;
      read(value, path, { ...result, document });
    }
  }
  if (problems.length === 0 && found === 0) {
    const position = { file: paths[0] ?? '', line: 1, column: 1 };
    throw invalid(paths, [
      { position, path: '', message: `it contains no ${what}`, fix: `name a file that contains one` },
    ]);
  }
  if (problems.length > 0) throw invalid(paths, problems);
  return result;
}

function itemsOf(value: unknown): readonly (readonly [Json, readonly PathSegment[]])[] {
  const record = recordOf(value);
  if (record === undefined) return [];
  const items = record['items'];
  if (textOf(record['kind'])?.endsWith('List') === true && Array.isArray(items))
    return items.flatMap((item: unknown, index) => {
      const one = recordOf(item);
      return one === undefined ? [] : [[one, ['items', index]] as const];
    });
  return [[record, []]];
}

/** Lists a part without a counterpart, with its position. */
export function reportUnmapped(
  importing: Importing,
  path: readonly PathSegment[],
  why: string,
  became: string,
): void {
  const { file, line, column } = importing.document.positionOf(path, 'key');
  importing.unmapped.push({ file, line, column, path: formatPath(path), why, became });
}

/** The keys of a text that the other tool uses: it ignores every key after the first, or it uses all. */
export type KeysInUse = 'first' | 'all';

/**
 * Keeps PEM public keys as files, each under its own name. Returns a problem when one of them is not a public
 * key, or is not in use: its signatures would count only here.
 */
export function keepKeys(
  importing: Importing,
  text: string,
  name: string,
  inUse: KeysInUse,
): { readonly names: readonly string[] } | { readonly problem: string } {
  const { blocks, damaged } = readPem(text);
  if (damaged) return { problem: 'a PEM block is damaged' };
  if (blocks.length === 0) return { problem: 'it contains no PEM public key' };
  if (inUse === 'first' && blocks.length > 1)
    return {
      problem: `it contains ${blocks.length} keys, and only the first one counts there: write only that`,
    };
  const names: string[] = [];
  for (const [index, { type, content }] of blocks.entries()) {
    const pem = writePem(type, content);
    const key = parsePublicKey(name, pem);
    if ('problem' in key) return { problem: key.problem };
    const file = `keys/${safeName(name)}${blocks.length > 1 ? `-${index + 1}` : ''}.pub`;
    names.push(keepFile(importing, file, Buffer.from(pem)));
  }
  return { names };
}

/** Keeps a file. A different file with the same name gets a number. */
export function keepFile(importing: Importing, name: string, bytes: Uint8Array): string {
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? name : name.replace(/(\.[^./]+)?$/, `-${number}$1`);
    const present = importing.files.find((file) => file.name === candidate);
    if (present === undefined) importing.files.push({ name: candidate, bytes });
    if (present === undefined || Buffer.from(present.bytes).equals(bytes)) return candidate;
  }
}

function safeName(text: string): string {
  return (
    text
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[.-]+/, '')
      .slice(0, 100) || 'key'
  );
}

/** Returns `any` for several requirements, a single requirement itself, or undefined for none. */
export function anyOf(requirements: readonly Json[]): Json | undefined {
  const [only] = requirements;
  return requirements.length <= 1 ? only : { any: requirements };
}

/** Returns `all` for several requirements, a single requirement itself, or undefined for none. */
export function allOf(requirements: readonly Json[]): Json | undefined {
  const [only] = requirements;
  return requirements.length <= 1 ? only : { all: requirements };
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function nameOf(value: Json): string {
  return textOf(recordOf(value['metadata'])?.['name']) ?? 'unnamed';
}

function invalid(paths: readonly string[], problems: readonly Problem[]): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_IMPORT_INVALID',
    kind: 'invalid',
    attempted: 'import policy',
    on: paths.join(', '),
    why: describeProblems(problems),
    fix: 'correct the places named',
    details: { problems },
  });
}
