import { reasonOf } from '../../base/errors/index.ts';
import { tlsCertificates } from '../../base/pem/index.ts';
import type { PathSegment } from '../../base/schema/index.ts';
import { readReferenced, refuseKeyText, report } from '../requirements/building.ts';
import type { Building } from '../requirements/building.ts';
import { durationPattern, parseDuration } from '../requirements/duration.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import { recordOf } from '../json/strict-json.ts';
import type { Requirement } from '../requirements/types.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { trustRoot } from '../tuf/trusted-set.ts';
import type { TufPin, TufRequirement } from '../requirements/tuf.ts';

const text = { type: 'string', minLength: 1, maxLength: 4096 } as const;
const maximumRootBytes = 512 * 1024;
const maximumAuthorityBytes = 1024 * 1024;

/** The roles that Notary's clients ask for a tag, in this order. */
const notaryRoles = ['targets/releases', 'targets'] as const;

/** JSON Schema of `tuf:`. */
export const tufSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['service'],
  description:
    'Signed targets of a TUF or Notary service say which digest a tag means. Not under `any` or a threshold.',
  properties: {
    service: {
      ...text,
      pattern: '^(?:https?|oci)://[^\\s?#]+$',
      description: 'write https://HOST, http://HOST or oci://REGISTRY',
    },
    dialect: {
      enum: ['tuf', 'notary'],
      description: 'notary: Notary v1, the protocol of docker content trust. Default: tuf.',
    },
    root: {
      description:
        'The first root.json to trust, a file relative to this policy; or one for each image: { HOST/PATH: FILE }.',
      anyOf: [text, { type: 'object', minProperties: 1, maxProperties: 1000, additionalProperties: text }],
    },
    trustOnFirstUse: {
      const: true,
      description: 'Instead of `root`: trust what the service says the first time, and record it.',
    },
    maxAge: {
      type: 'string',
      pattern: durationPattern,
      description: 'The service must have been asked, with success, within this time: 90s, 10m, 24h, 30d.',
    },
    roles: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      uniqueItems: true,
      items: { ...text, pattern: '^targets(/[^/\\s]+)*$' },
      description: `Roles that may name a tag, in the order in which they are asked. Default for Notary: ${notaryRoles.join(', then ')}.`,
    },
    names: {
      enum: ['tag', 'reference'],
      description:
        'tag: each image has its own repository there. reference: one repository, whose targets are HOST/PATH:TAG.',
    },
    ca: {
      ...text,
      description: 'A PEM file of authorities that certify the service, relative to this policy.',
    },
  },
} as const;

/** Reads `tuf:`. */
export async function readTuf(
  value: unknown,
  path: readonly PathSegment[],
  building: Building,
): Promise<Requirement | undefined> {
  const record = recordOf(value) ?? {};
  const { service, ca, maxAge, roles } = record;
  const dialect: Dialect = record['dialect'] === 'notary' ? 'notary' : 'tuf';
  const root = await readRoot(record, dialect, path, building);
  const authorities =
    typeof ca === 'string' ? await readAuthorities(ca, [...path, 'ca'], building) : undefined;
  const names = record['names'] === 'reference' ? 'reference' : 'tag';
  if (names === 'reference' && dialect === 'notary')
    report(
      building,
      [...path, 'names'],
      'a repository of Notary is for one image: its targets are tags',
      'leave `names` out',
    );
  if (
    typeof service !== 'string' ||
    root === undefined ||
    (typeof ca === 'string' && authorities === undefined)
  )
    return undefined;
  const seconds = typeof maxAge === 'string' ? parseDuration(maxAge) : undefined;
  const asked = Array.isArray(roles)
    ? roles.filter((role): role is string => typeof role === 'string')
    : undefined;
  const ordered = asked ?? (dialect === 'notary' ? notaryRoles : undefined);
  return {
    kind: 'tuf',
    service: service.replace(/\/+$/u, ''),
    dialect,
    names,
    root,
    ...(seconds === undefined ? {} : { maxAge: seconds }),
    ...(ordered === undefined ? {} : { roles: ordered }),
    ...(authorities === undefined ? {} : { authorities }),
  };
}

async function readRoot(
  record: Readonly<Record<string, unknown>>,
  dialect: Dialect,
  path: readonly PathSegment[],
  building: Building,
): Promise<TufRequirement['root'] | undefined> {
  const { root } = record;
  const firstUse = record['trustOnFirstUse'] === true;
  if ((root === undefined) === !firstUse) {
    const message = firstUse
      ? '`root` and `trustOnFirstUse` cannot be combined'
      : 'it has neither `root` nor `trustOnFirstUse`';
    const fix = 'write root: FILE, a root.json that you did not get from the service';
    report(building, firstUse ? [...path, 'trustOnFirstUse'] : path, message, fix, 'key');
    return undefined;
  }
  if (firstUse) return 'first-use';
  if (typeof root === 'string') {
    const pin = await readPin(root, dialect, [...path, 'root'], building);
    return pin === undefined ? undefined : [pin];
  }
  const pins: TufPin[] = [];
  const entries = Object.entries(recordOf(root) ?? {});
  for (const [image, file] of entries) {
    const at = [...path, 'root', image];
    const named = imageName(image);
    if (named === undefined) {
      report(
        building,
        at,
        `"${image}" is not an image without tag and digest`,
        'write it like registry.example.com/pay/app',
        'key',
      );
      continue;
    }
    const pin = typeof file === 'string' ? await readPin(file, dialect, at, building) : undefined;
    if (pin !== undefined) pins.push({ ...pin, image: named });
  }
  return pins.length === entries.length && pins.length > 0 ? pins : undefined;
}

async function readPin(
  name: string,
  dialect: Dialect,
  path: readonly PathSegment[],
  building: Building,
): Promise<TufPin | undefined> {
  if (refuseKeyText(building, path, name)) return undefined;
  const read = await readReferenced(building, name, maximumRootBytes);
  const refuse = (why: string): undefined => {
    const fix = `name the first root.json of the repository (dialect: ${dialect})`;
    report(building, path, `the root ${name} cannot be used: ${why}`, fix);
    return undefined;
  };
  if ('problem' in read) return refuse(read.problem);
  try {
    trustRoot(dialect, read.bytes);
  } catch (error) {
    return refuse(reasonOf(error));
  }
  return { name, digest: read.digest, content: read.bytes.toString('base64') };
}

async function readAuthorities(
  name: string,
  path: readonly PathSegment[],
  building: Building,
): Promise<string | undefined> {
  if (refuseKeyText(building, path, name)) return undefined;
  const read = await readReferenced(building, name, maximumAuthorityBytes);
  let problem = 'problem' in read ? read.problem : '';
  if ('bytes' in read) {
    try {
      // TLS verifies the service with them, so they are read as TLS reads them.
      tlsCertificates(read.bytes);
      return read.bytes.toString('latin1');
    } catch (error) {
      problem = reasonOf(error);
    }
  }
  report(
    building,
    path,
    `the authorities ${name} cannot be used: ${problem}`,
    'name a PEM file of certificates',
  );
  return undefined;
}

function imageName(written: string): string | undefined {
  try {
    const { registry, repository } = normaliseReference(`${written}:any`);
    return `${registry}/${repository}`;
  } catch {
    return undefined;
  }
}

/**
 * Returns whether a requirement, or one nested in it, has this kind. A policy may not list such a
 * requirement as one of several alternatives.
 */
export function holdsTuf(requirement: Requirement): boolean {
  return 'of' in requirement ? requirement.of.some(holdsTuf) : requirement.kind === 'tuf';
}

/** Returns the requirement with the rule's `onStale`. @param grace seconds */
export function withGrace(requirement: Requirement, grace: number): Requirement {
  if (requirement.kind === 'tuf') return { ...requirement, grace };
  return requirement.kind === 'all'
    ? { ...requirement, of: requirement.of.map((part) => withGrace(part, grace)) }
    : requirement;
}
