import { dirname, resolve } from 'node:path';
import type { PathSegment } from '../../base/schema/index.ts';
import { readReferenced, refuseKeyText, report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';
import { constraintProperties, readConstraints } from '../requirements/constraints.ts';
import { defaultSignedIdentity } from '../requirements/signed-identity.ts';
import { recordOf } from '../json/strict-json.ts';
import type { Requirement } from '../requirements/types.ts';
import { readKeyRing } from './key-ring.ts';
import type { GpgKey } from '../requirements/gpg-key.ts';
import { defaultLookaside, parseLookaside } from './lookaside.ts';

const keyRingBytes = 4 * 1024 * 1024;

/** JSON Schema of `gpg:`. */
export const gpgSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['keys'],
  description: 'A GPG simple signature (containers-signature(5)) by one of these keys.',
  properties: {
    keys: {
      type: 'array',
      minItems: 1,
      maxItems: 100,
      items: {
        type: 'string',
        minLength: 1,
        maxLength: 4096,
        description: 'A file of OpenPGP public keys, binary or armored, relative to this policy.',
      },
      description: 'Files of the OpenPGP keys that may sign.',
    },
    lookaside: {
      type: 'string',
      minLength: 1,
      maxLength: 4096,
      description: `Where the signatures are: https://…, http://…, file:///… or a folder, relative to this policy; default: ${defaultLookaside}.`,
    },
    ...constraintProperties,
  },
} as const;

/** Reads `gpg:`. Without `signedIdentity`, the name must match as containers policies require by default. */
export async function readGpg(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<Requirement | undefined> {
  const record = recordOf(value) ?? {};
  const names = Array.isArray(record['keys'])
    ? record['keys'].filter((name): name is string => typeof name === 'string' && name !== '')
    : [];
  const rings = await Promise.all(
    names.map((name, index) => readKeys(name, [...path, 'keys', index], building)),
  );
  const constraints = readConstraints(record, path, building);
  const { lookaside: written = defaultLookaside } = record;
  if (typeof written !== 'string') return undefined;
  const lookaside = parseLookaside(written, dirname(building.document.file));
  if ('problem' in lookaside) {
    report(
      building,
      [...path, 'lookaside'],
      `this lookaside cannot be used: ${lookaside.problem}`,
      'write https://HOST/PATH, or an absolute folder',
    );
    return undefined;
  }
  if (rings.length === 0 || rings.some((ring) => ring === undefined)) return undefined;
  const keys = mergedKeys(rings.flatMap((ring) => ring ?? []));
  if (typeof keys === 'string') {
    report(building, [...path, 'keys'], `the key files cannot be used together: ${keys}`, 'name other keys');
    return undefined;
  }
  const folder = dirname(building.document.file);
  const keyFiles = names.map((name) => resolve(folder, name));
  return {
    kind: 'gpg',
    keys,
    keyFiles,
    lookaside: lookaside.url,
    constraints: { signedIdentity: defaultSignedIdentity, ...constraints },
  };
}

async function readKeys(
  name: string,
  path: readonly PathSegment[],
  building: Building,
): Promise<Buffer | undefined> {
  if (refuseKeyText(building, path, name)) return undefined;
  const read = await readReferenced(building, name, keyRingBytes);
  const refuse = (problem: string): undefined => {
    report(
      building,
      path,
      `the key file ${name} cannot be used: ${problem}`,
      'name a file of OpenPGP public keys: gpg --export KEY > FILE',
    );
    return undefined;
  };
  if ('problem' in read) return refuse(read.problem);
  try {
    readKeyRing(read.bytes);
    return read.bytes;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** Returns the keys of all files, or why none is left. One file may revoke the keys of another. */
function mergedKeys(files: readonly Buffer[]): readonly GpgKey[] | string {
  try {
    return readKeyRing(...files).keys;
  } catch (error) {
    return (error as Error).message;
  }
}
