import { createHash } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { reasonOf } from '../../base/errors/index.ts';
import { formatPath } from '../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../base/schema/index.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { recordOf } from '../strict-json.ts';
import type { PolicyKey, Requirement } from '../types.ts';
import { readBounded } from './documents.ts';

/** What building a policy gathers on the way. */
export interface Building {
  readonly document: Document;
  readonly problems: Problem[];
  /** Every key file read, by its path; each is read once, so that revision and key are of the same bytes. */
  readonly keys: Map<string, ReadKey>;
}

type ReadKey = { readonly text: string; readonly digest: string } | { readonly problem: string };

const notBuilt = ['tuf', 'sigstore', 'notation', 'attestation'] as const;
const maximumKeyBytes = 64 * 1024;

/** Adds a problem at a place of the document. */
export function report(
  building: Building,
  path: readonly PathSegment[],
  message: string,
  fix: string,
  part: 'key' | 'value' = 'value',
): void {
  building.problems.push({ position: building.document.positionOf(path, part), path: formatPath(path), message, fix });
}

/** Reads one requirement; what the schema has refused already gives undefined without a second problem. */
export async function readRequirement(value: unknown, path: readonly PathSegment[], building: Building): Promise<Requirement | undefined> {
  const record = recordOf(value) ?? {};
  for (const kind of notBuilt) {
    if (Object.hasOwn(record, kind))
      report(building, [...path, kind], `\`${kind}\` is not supported by this version`, 'use `cosign: { key: FILE }`', 'key');
  }
  if (Object.hasOwn(record, 'cosign')) return readCosign(record['cosign'], [...path, 'cosign'], building);
  if (Object.hasOwn(record, 'threshold')) return readThreshold(recordOf(record['threshold']) ?? {}, [...path, 'threshold'], building);
  for (const kind of ['all', 'any'] as const) {
    if (!Object.hasOwn(record, kind)) continue;
    const of = await readList(record[kind], [...path, kind], building);
    return of === undefined ? undefined : { kind, of };
  }
  return undefined;
}

async function readThreshold(
  record: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  building: Building,
): Promise<Requirement | undefined> {
  const of = await readList(record['of'], [...path, 'of'], building);
  const count = record['count'];
  if (of === undefined || typeof count !== 'number') return undefined;
  if (count > of.length) {
    report(building, [...path, 'count'], `${count} of ${of.length} requirements can never be satisfied`, `write at most ${of.length}`);
    return undefined;
  }
  // One signature must not count twice: two names for one key would make "two of three" one signer's decision.
  const seen = new Map<string, string>();
  for (const [index, requirement] of of.entries()) {
    for (const key of keysOf(requirement)) {
      const other = seen.get(key.spki);
      if (other !== undefined)
        report(building, [...path, 'of', index], `the key ${key.name} is the same key as ${other}`, 'name each key once in a threshold');
      seen.set(key.spki, key.name);
    }
  }
  return { kind: 'threshold', count, of };
}

function keysOf(requirement: Requirement): readonly PolicyKey[] {
  return requirement.kind === 'cosign-key' ? [requirement.key] : requirement.of.flatMap(keysOf);
}

async function readList(value: unknown, path: readonly PathSegment[], building: Building): Promise<readonly Requirement[] | undefined> {
  if (!Array.isArray(value)) return undefined;
  const list: Requirement[] = [];
  for (const [index, entry] of value.entries()) {
    const requirement = await readRequirement(entry, [...path, index], building);
    if (requirement !== undefined) list.push(requirement);
  }
  return list.length === value.length && list.length > 0 ? list : undefined;
}

async function readCosign(value: unknown, path: readonly PathSegment[], building: Building): Promise<Requirement | undefined> {
  const record = recordOf(value) ?? {};
  if (Object.hasOwn(record, 'log'))
    report(building, [...path, 'log'], '`log` is not supported by this version', 'leave it out: the key alone is checked', 'key');
  const name = record['key'];
  if (typeof name !== 'string' || name === '') return undefined;
  const file = resolve(dirname(building.document.file), name);
  const read = building.keys.get(file) ?? (await readKey(file));
  building.keys.set(file, read);
  const key = 'problem' in read ? read : parsePublicKey(name, read.text);
  if ('problem' in key) {
    report(
      building,
      [...path, 'key'],
      `the key file ${name} can not be used: ${key.problem}`,
      'name a PEM public key, relative to this policy file, such as cosign.pub',
    );
    return undefined;
  }
  return { kind: 'cosign-key', key };
}

async function readKey(file: string): Promise<ReadKey> {
  try {
    const bytes = await readBounded(file, maximumKeyBytes);
    return { text: bytes.toString('utf8'), digest: createHash('sha256').update(bytes).digest('hex') };
  } catch (error) {
    return { problem: (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : reasonOf(error) };
  }
}
