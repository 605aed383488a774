import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { fileReason, reasonOf } from '../../base/errors/index.ts';
import { entitlementsError } from '../errors.ts';
import { parseSeccompJson } from '../seccomp/oci-shape.ts';
import { importAppArmorAbstract } from './apparmor-abstract.ts';
import type { SeccompTarget } from './conditional-seccomp.ts';
import type { Imported } from './imported.ts';
import { importSeccomp } from './seccomp.ts';

/** KEP-6061, "Artifact Format": the media type of the manifest's config, and of its artifactType. */
export const ARTIFACT_TYPES = {
  seccomp: 'application/vnd.cncf.seccomp-profile.config.v1+json',
  apparmor: 'application/vnd.cncf.apparmor-profile.config.v1+json',
} as const;

/** KEP-6061: one layer of at most 1 MiB. */
export const MAX_LAYER = 1024 * 1024;
const MAX_MANIFEST = 256 * 1024;

/** Returns true for a folder that is an OCI image layout. */
export async function isLayout(folder: string): Promise<boolean> {
  return stat(join(folder, 'oci-layout')).then(
    () => true,
    () => false,
  );
}

/**
 * Imports the profile from an OCI image layout with one artifact according to KEP-6061. Digests are checked.
 * As the proposal demands, an artifact that needs a supervisor (SCMP_ACT_NOTIFY, a listener) is refused.
 * @throws ENTITLEMENTS_BAD_PROFILE, ENTITLEMENTS_BAD_SECCOMP
 */
export async function importArtifact(folder: string, target: SeccompTarget): Promise<Imported> {
  const index = fields(
    parse(await readBounded(folder, 'index.json', MAX_MANIFEST), folder),
    folder,
    'index.json',
  );
  const manifests = list(index['manifests']);
  if (manifests.length !== 1)
    throw bad(folder, `index.json names ${manifests.length} manifests instead of one`);
  const manifest = fields(
    parse(await blob(folder, manifests[0], MAX_MANIFEST), folder),
    folder,
    'the manifest',
  );
  const config = fields(manifest['config'], folder, 'the manifest’s config');
  const type =
    config['mediaType'] === 'application/vnd.oci.empty.v1+json'
      ? manifest['artifactType']
      : config['mediaType'];
  const layers = list(manifest['layers']);
  if (layers.length !== 1) throw bad(folder, `the artifact has ${layers.length} layers instead of one`);
  if (type !== ARTIFACT_TYPES.seccomp && type !== ARTIFACT_TYPES.apparmor)
    throw bad(folder, `${JSON.stringify(type)} is not a media type of a profile`);
  const text = await blob(folder, layers[0], MAX_LAYER);
  const json = parseSeccompJson(text);
  if (type === ARTIFACT_TYPES.apparmor) return importAppArmorAbstract(json, '');
  const { listenerPath, listenerMetadata } = fields(json, folder, 'the profile');
  const imported = importSeccomp(json, target);
  const needs = imported.unmapped.find(({ why }) => why.includes('supervisor'));
  if (needs !== undefined) throw bad(folder, `${needs.part}: ${needs.why}: an artifact may not ask for it`);
  if (listenerPath !== undefined || listenerMetadata !== undefined)
    throw bad(folder, 'it names a listener, which an artifact may not');
  return imported;
}

async function blob(folder: string, descriptor: unknown, limit: number): Promise<string> {
  const { digest, size } = fields(descriptor, folder, 'a descriptor');
  const hex = /^sha256:([0-9a-f]{64})$/.exec(typeof digest === 'string' ? digest : '')?.[1];
  if (hex === undefined) throw bad(folder, `${JSON.stringify(digest)} is not a sha256 digest`);
  if (typeof size !== 'number' || size > limit)
    throw bad(folder, `sha256:${hex} is larger than ${limit} bytes`);
  const text = await readBounded(folder, join('blobs', 'sha256', hex), limit);
  if (createHash('sha256').update(text).digest('hex') !== hex)
    throw bad(folder, `sha256:${hex} has other content than its digest says`);
  return text;
}

async function readBounded(folder: string, name: string, limit: number): Promise<string> {
  const file = join(folder, name);
  try {
    const facts = await stat(file);
    if (!facts.isFile() || facts.size > limit) throw new Error(`it is not a file of at most ${limit} bytes`);
    return await readFile(file, 'utf8');
  } catch (error) {
    throw bad(file, fileReason(error, file));
  }
}

function parse(text: string, folder: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw bad(folder, reasonOf(error));
  }
}

function fields(value: unknown, folder: string, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad(folder, `${what} is not an object`);
  return value as Readonly<Record<string, unknown>>;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function bad(on: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read profile artifact',
    on,
    why,
    fix: 'name the folder of an OCI image layout that contains one profile, as KEP-6061 describes',
  });
}
