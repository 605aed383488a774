import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { loadPolicy } from '../policy/load.ts';
import type { LoadedPolicy } from '../policy/load.ts';
import { collectRelease } from '../policy-release/collect.ts';
import { packRelease, unpackRelease } from '../policy-release/archive.ts';
import type { ReleaseFiles } from '../policy-release/archive.ts';
import type { CarriedRoot } from '../requirements/building.ts';
import type { PolicyRoot, TrustPolicy } from '../requirements/types.ts';
import { defaultRootCache } from '../sigstore/root-cache.ts';
import { publicGood } from '../sigstore/schema.ts';
import { publicGoodTufUrl } from '../sigstore/seeds.ts';

/**
 * The policy of an archive: the files of a policy, and the trusted roots that it takes from TUF repositories,
 * which cannot be asked behind an air gap.
 */

/** Where the packed policy keeps the roots: one file each, and the list of their repositories. */
const rootsFolder = 'portcullis-roots';
const rootsList = `${rootsFolder}/roots.json`;
const mostRoots = 100;

/** A root of a policy, and the TUF repository that it comes from. */
interface RepositoryRoot {
  readonly url: string;
  readonly root: PolicyRoot;
}

/**
 * Packs the files of a policy with the trusted roots of its TUF repositories. The same files give the same
 * bytes.
 * @param path the folder of the policy, or its only file
 * @throws PortcullisError `TRUST_POLICY_INVALID`; `TRUST_RELEASE_…` when it refers to files elsewhere, or is
 * too large; `TRUST_ARCHIVE_ROOT_EXPIRED` when a root needs an update
 */
export async function packPolicy(path: string, now: Date): Promise<Buffer> {
  const loaded = await loadPolicy({ paths: [path] });
  const roots = repositoryRootsOf(loaded.policy);
  for (const { url, root } of roots)
    if (root.expires !== undefined && Date.parse(root.expires) <= now.getTime())
      throw new PortcullisError({
        code: 'TRUST_ARCHIVE_ROOT_EXPIRED',
        kind: 'precondition',
        attempted: 'carry the policy',
        on: path,
        why: `the trusted root of ${url} expired on ${root.expires}`,
        fix: 'update it: portcullis sigstore-root update',
      });
  const files = new Map(await collectRelease(path, withoutMachineFiles(loaded, roots)));
  if ([...files.keys()].some((name) => name === rootsFolder || name.startsWith(`${rootsFolder}/`)))
    throw carriedFailure(path, `it already contains a folder ${rootsFolder}`, 'rename that folder');
  const list = roots.map(({ url, root }, at) => {
    const file = `${rootsFolder}/${at}.trusted_root.json`;
    files.set(file, Buffer.from(root.content, 'base64'));
    return { url, file };
  });
  if (list.length > 0) files.set(rootsList, Buffer.from(`${JSON.stringify(list, undefined, 2)}\n`));
  return packRelease(files);
}

/**
 * Unpacks a policy into a folder, and loads it with the roots that it carries.
 * @param expires until when the carried roots count
 * @throws PortcullisError `TRUST_POLICY_INVALID`, `TRUST_RELEASE_MALFORMED`, `TRUST_ARCHIVE_POLICY`
 */
export async function loadCarriedPolicy(
  packed: Buffer,
  folder: string,
  expires: Date,
): Promise<LoadedPolicy> {
  const files = await unpackRelease(packed);
  const carriedRoots = rootsIn(files, expires);
  await writePolicyFiles(files, folder, ({ name }) => !name.startsWith(`${rootsFolder}/`));
  return loadPolicy({ paths: [folder], carriedRoots });
}

/**
 * Writes the files of a packed policy into a folder that nobody else writes to: `portcullis-roots` holds the
 * roots.
 * @throws PortcullisError `TRUST_RELEASE_MALFORMED`, and the errors of the file system
 */
export async function unpackPolicy(packed: Buffer, folder: string): Promise<readonly string[]> {
  return writePolicyFiles(await unpackRelease(packed), folder, () => true);
}

async function writePolicyFiles(
  files: ReleaseFiles,
  folder: string,
  wanted: (file: { readonly name: string }) => boolean,
): Promise<readonly string[]> {
  const names = [...files.keys()].filter((name) => wanted({ name }));
  for (const name of names) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeFile(path, files.get(name) ?? Buffer.alloc(0), { flag: 'wx', mode: 0o644 });
  }
  return names;
}

function rootsIn(files: ReleaseFiles, expires: Date): ReadonlyMap<string, CarriedRoot> {
  const bytes = files.get(rootsList);
  const roots = new Map<string, CarriedRoot>();
  if (bytes === undefined) return roots;
  const list = readList(bytes);
  for (const each of list) {
    const { url, file } = recordOf(each) ?? {};
    const content = typeof file === 'string' ? files.get(file) : undefined;
    if (typeof url !== 'string' || content === undefined || roots.size >= mostRoots)
      throw carriedFailure(
        rootsList,
        'its list of trusted roots is malformed',
        'ask its author for another archive',
      );
    roots.set(url, { content, expires: expires.getTime() });
  }
  return roots;
}

function readList(bytes: Buffer): readonly unknown[] {
  try {
    const list = parseStrictJson(bytes);
    if (Array.isArray(list)) return list as unknown[];
  } catch {
    // Reported below.
  }
  throw carriedFailure(
    rootsList,
    'its list of trusted roots is not a JSON array',
    'ask its author for another archive',
  );
}

/** Returns the roots that a policy takes from TUF repositories, each repository once. */
function repositoryRootsOf(policy: TrustPolicy): readonly RepositoryRoot[] {
  const found = new Map<string, PolicyRoot>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if (isRoot(value)) {
      const url = value.name === publicGood ? publicGoodTufUrl : value.name;
      if (/^https?:\/\//u.test(url)) found.set(url.replace(/\/+$/u, ''), value);
    } else for (const one of Object.values(value)) visit(one);
  };
  visit(policy.rules);
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([url, root]) => ({ url, root }));
}

function isRoot(value: object): value is PolicyRoot {
  const { name, digest, content } = value as Partial<PolicyRoot>;
  return typeof name === 'string' && typeof digest === 'string' && typeof content === 'string';
}

/** The root that ships with this version counts as a file of the machine, too, when it was never updated. */
function withoutMachineFiles(
  { files, tufRoots }: LoadedPolicy,
  roots: readonly RepositoryRoot[],
): Pick<LoadedPolicy, 'files' | 'tufRoots'> {
  const shipped = roots
    .filter(({ root }) => root.ships === true)
    .map(({ url }) => ({ url, cache: defaultRootCache }));
  return { files, tufRoots: [...tufRoots, ...shipped] };
}

function carriedFailure(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_ARCHIVE_POLICY',
    kind: 'invalid',
    attempted: 'carry the policy',
    on,
    why,
    fix,
  });
}
