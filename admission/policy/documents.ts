import { createHash } from 'node:crypto';
import { readdir, rm, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fieldsOf, textOf } from '../../base/kubernetes/index.ts';
import type { ObjectFields } from '../../base/kubernetes/index.ts';
import { writeYaml } from '../../base/schema/index.ts';
import { makeFolder, writeFileAtomic } from '../../base/storage/index.ts';
import type { CustomResource } from '../custom-resources/definitions.ts';

/** A document of the cluster, as the loader reads it. */
export interface ClusterDocument {
  readonly kind: CustomResource['kind'];
  /** The name of the object. */
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  /** Name of the file in the folder of the loader, such as `trustpolicy.base.yaml`. */
  readonly file: string;
  /** YAML, without what only the cluster adds. */
  readonly text: string;
  readonly rules: number;
  /** As the API server sent it, for its status. */
  readonly object: ObjectFields;
}

/**
 * Returns the document of an object, as it would be in a file of a node. Server fields and the status are
 * left out, so that every replica reads the same bytes, and the revision is the same.
 */
export function documentOf(kind: CustomResource['kind'], value: unknown): ClusterDocument | undefined {
  const object = fieldsOf(value);
  const { apiVersion: _version, kind: _kind, metadata, status: _status, ...fields } = object;
  const { name: given, uid, generation } = fieldsOf(metadata);
  const name = textOf(given);
  // Names of objects are subdomains (RFC 1123), and become names of files.
  if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name)) return undefined;
  const document = {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind,
    metadata: { name },
    ...Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1))),
  };
  const rules = fields['rules'];
  return {
    kind,
    name,
    uid: textOf(uid),
    generation: typeof generation === 'number' ? generation : 0,
    file: `${kind.toLowerCase()}.${nameInFile(name)}.yaml`,
    text: writeYaml(document),
    rules: Array.isArray(rules) ? rules.length : 0,
    object,
  };
}

/** A file name has at most 255 bytes, also while the file is written under a temporary name. */
const mostInFile = 200;

/** Returns the name, or its beginning with a digest. `~` is in no name of an object. */
const nameInFile = (name: string): string =>
  name.length <= mostInFile
    ? name
    : `${name.slice(0, 100)}~${createHash('sha256').update(name).digest('hex').slice(0, 32)}`;

/**
 * Writes the documents into a folder that only this process uses, and links the files that policies refer to
 * beside them.
 * @param referred folder of keys and other files; undefined: there are none
 * @returns the paths of the documents
 * @throws PortcullisError STORAGE_…
 */
export async function writeDocuments(
  folder: string,
  documents: readonly ClusterDocument[],
  referred: string | undefined,
): Promise<readonly string[]> {
  await makeFolder(folder);
  const wanted = new Map(documents.map(({ file, text }) => [file, text]));
  const links =
    referred === undefined
      ? []
      : (await readdir(referred)).filter((name) => !name.startsWith('.') && !wanted.has(name));
  for (const name of await readdir(folder))
    if (!wanted.has(name)) await rm(join(folder, name), { recursive: true, force: true });
  for (const name of links) await symlink(resolve(referred ?? '', name), join(folder, name));
  for (const [file, text] of wanted) await writeFileAtomic(join(folder, file), text, { durable: false });
  return [...wanted.keys()].sort().map((file) => join(folder, file));
}
