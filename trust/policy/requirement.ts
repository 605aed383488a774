import type { RequirementReader } from '../requirements/building.ts';
import type { PathSegment } from '../../base/schema/index.ts';
import { readGpg } from '../gpg/policy.ts';
import { readAttestation } from '../attestation/policy.ts';
import { readSummary } from '../attestation/summary-policy.ts';
import { readNotation } from '../notation/read-requirement.ts';
import { readPki } from '../pki/reader.ts';
import { readCosign, readSigstore } from '../sigstore/read-requirement.ts';
import { recordOf } from '../json/strict-json.ts';
import { signerOfKey } from '../keys/public-key.ts';
import { holdsTuf, readTuf } from '../tuf-requirement/policy.ts';
import type { PolicyKey, Requirement } from '../requirements/types.ts';
import { report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';

/** The reader of each type of authority, by its name in a policy. */
const readers: Readonly<Record<string, RequirementReader>> = {
  attestation: (value, path, building) => readAttestation(value, path, building, readRequirement),
  vsa: (value, path, building) => readSummary(value, path, building, readRequirement),
  cosign: readCosign,
  sigstore: readSigstore,
  pki: readPki,
  gpg: readGpg,
  notation: readNotation,
  tuf: readTuf,
};

/**
 * Reads one requirement. Returns undefined, without a second problem, for a value that the schema has already
 * refused.
 */
export async function readRequirement(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<Requirement | undefined> {
  const record = recordOf(value) ?? {};
  for (const [kind, reader] of Object.entries(readers)) {
    if (Object.hasOwn(record, kind)) return reader(record[kind], [...path, kind], building);
  }
  if (Object.hasOwn(record, 'threshold'))
    return readThreshold(recordOf(record['threshold']) ?? {}, [...path, 'threshold'], building);
  for (const kind of ['all', 'any'] as const) {
    if (!Object.hasOwn(record, kind)) continue;
    const of = await readList(record[kind], [...path, kind], building);
    if (kind === 'any') refuseTuf(of, [...path, kind], building);
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
  refuseTuf(of, [...path, 'of'], building);
  const count = record['count'];
  if (of === undefined || typeof count !== 'number') return undefined;
  if (count > of.length) {
    report(
      building,
      [...path, 'count'],
      `${count} of ${of.length} requirements can never be satisfied`,
      `write at most ${of.length}`,
    );
    return undefined;
  }
  // One signature must not count twice: with two names for one key, a single signer could satisfy "two of
  // three".
  const seen = new Map<string, string>();
  for (const [index, requirement] of of.entries()) {
    for (const key of keysOf(requirement)) {
      const signer = signerOfKey(key);
      const other = seen.get(signer);
      if (other !== undefined)
        report(
          building,
          [...path, 'of', index],
          `the key ${key.name} is the same key as ${other}`,
          'name each key once in a threshold',
        );
      seen.set(signer, key.name);
    }
  }
  return { kind: 'threshold', count, of };
}

/** Refuses `tuf` where another proof could replace it: an older digest would then pass under the tag. */
function refuseTuf(
  of: readonly Requirement[] | undefined,
  path: readonly PathSegment[],
  building: Building,
): void {
  for (const [index, requirement] of (of ?? []).entries()) {
    if (!holdsTuf(requirement)) continue;
    const fix = 'write it beside them: all: [ { tuf: … }, { any: … } ]';
    report(building, [...path, index], '`tuf` may not be one of several alternatives', fix);
  }
}

function keysOf(requirement: Requirement): readonly PolicyKey[] {
  if (requirement.kind === 'cosign-key') return [requirement.key];
  return 'of' in requirement ? requirement.of.flatMap(keysOf) : [];
}

async function readList(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<readonly Requirement[] | undefined> {
  if (!Array.isArray(value)) return undefined;
  const list: Requirement[] = [];
  for (const [index, entry] of value.entries()) {
    const requirement = await readRequirement(entry, [...path, index], building);
    if (requirement !== undefined) list.push(requirement);
  }
  return list.length === value.length && list.length > 0 ? list : undefined;
}
