import type { PathSegment } from '../../base/schema/index.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import { readReferenced, refuseKeyText, report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';
import { constraintProperties, readConstraints, refuseUnprovenAge } from '../requirements/constraints.ts';
import { recordOf } from '../json/strict-json.ts';
import type { PkiRequirement, PolicyCertificates } from '../requirements/types.ts';
import { readPemCertificates } from './authorities.ts';

const text = { type: 'string', minLength: 1, maxLength: 1024 } as const;

/** JSON Schema of `pki:` in a requirement. */
export const pkiSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['roots'],
  description:
    'A cosign signature with a certificate of your own authority that is valid at the time of the decision.',
  properties: {
    roots: { ...text, description: 'A PEM file of the trusted certificates, relative to this policy.' },
    intermediates: {
      ...text,
      description: 'A PEM file of intermediate certificates, for signatures that do not include theirs.',
    },
    email: { ...text, description: 'The exact e-mail address that the certificate must be issued to.' },
    hostname: {
      ...text,
      description: 'The host name or address that the certificate must be issued to, as for TLS.',
    },
    ...constraintProperties,
  },
} as const;

const maximumPemBytes = 1024 * 1024;
const age = {
  why: 'nothing proves when a signature with a certificate of your own authority was made',
  fix: 'require a log: sigstore with a trusted_root.json of your own',
};

/** Reads `pki: { roots, intermediates, email, hostname }`. */
export async function readPki(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<PkiRequirement | undefined> {
  const record = recordOf(value) ?? {};
  const { email, hostname } = record;
  const named = [email, hostname].filter((name) => typeof name === 'string' && name !== '');
  if (email === undefined && hostname === undefined && Object.hasOwn(record, 'roots'))
    report(
      building,
      path,
      'anyone with a certificate from these roots could sign',
      'name the signer: email: signer@example.com, or hostname: sign.example.com',
    );
  const roots = await readFileOf(record['roots'], [...path, 'roots'], building);
  const intermediates = await readFileOf(record['intermediates'], [...path, 'intermediates'], building);
  const constraints = readConstraints(record, path, building);
  if (refuseUnprovenAge(constraints, path, building, age)) return undefined;
  for (const key of ['email', 'hostname'])
    if (typeof record[key] === 'string' && record[key].includes('*')) {
      report(
        building,
        [...path, key],
        `\`${key}\` is compared exactly, and this value contains a *`,
        'write the full name, or use `any` with several requirements',
      );
      return undefined;
    }
  if (
    roots === undefined ||
    named.length === 0 ||
    (intermediates === undefined && record['intermediates'] !== undefined)
  )
    return undefined;
  await loadPrehashed();
  return {
    kind: 'pki',
    roots,
    ...(intermediates === undefined ? {} : { intermediates }),
    ...(typeof email === 'string' ? { email } : {}),
    ...(typeof hostname === 'string' ? { hostname } : {}),
    ...(constraints === undefined ? {} : { constraints }),
  };
}

async function readFileOf(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<PolicyCertificates | undefined> {
  if (typeof value !== 'string' || value === '') return undefined;
  if (refuseKeyText(building, path, value)) return undefined;
  const read = await readReferenced(building, value, maximumPemBytes);
  try {
    if ('problem' in read) throw new Error(read.problem);
    return readPemCertificates(value, read.bytes);
  } catch (error) {
    const fix = 'name a PEM file of certificates, relative to this policy file, such as ca.pem';
    report(building, path, `the certificates ${value} cannot be used: ${(error as Error).message}`, fix);
    return undefined;
  }
}
