import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import manifest from '../../package.json' with { type: 'json' };
import { compare, filesBelow } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import { tarOf } from '../archives/tar.ts';
import { aptRepository } from '../deb/apt-repository.ts';
import { signRelease } from '../deb/sign-release.ts';
import { vsixOf } from '../editors/vscode/vsix.ts';
import { buildImages } from '../oci/images.ts';
import { gpgFiles } from './apt-signatures.ts';
import { buildArtifacts, releaseTime } from '../artifacts/artifacts.ts';
import { requireCleanCheckout } from './clean-checkout.ts';
import { clusterFiles } from './cluster-files.ts';
import { historyNotes } from './history.ts';
import { provenance } from './provenance.ts';

const { version } = manifest;
const root = join(import.meta.dirname, '../..');

/** The folder of the image layout. `portcullis images push` pushes it, so it is not part of the artifact. */
const imagesFolder = 'images';
const sumsFile = 'SHA256SUMS';

export interface BuildOptions {
  /** Registry and path of the images, such as `registry.example.com/portcullis`. The chart names it. */
  readonly registry: string;
  /** URI of the repository. */
  readonly source: string;
  /** URI of the builder. */
  readonly builder: string;
  /** The tag of the last release; undefined: the nearest tag before the commit. */
  readonly previous?: string;
  /** Whether to build images, and the files that name their digests. They need apt-get and dpkg-deb. */
  readonly images: boolean;
  /** The key with which gpg signs the apt repository; undefined: it is not signed. */
  readonly gpgKey?: string;
}

/**
 * Builds a release into `folder`, which is emptied first: packages with their SBOMs, an apt repository,
 * images, the chart, the kustomize bases, schemas, the extension for VS Code, provenance, notes and
 * `SHA256SUMS`. The same commit and options give the same bytes, except for the signatures of gpg, which
 * `SHA256SUMS` does not list.
 * @returns paths of the files of the release artifact, relative to the folder, in their order
 * @throws Error if something cannot be built, if a package differs from what is recorded, or if the
 *   sources are not a checkout of git, or have changes
 */
export async function buildRelease(folder: string, options: BuildOptions): Promise<readonly string[]> {
  requireCleanCheckout(root);
  rmSync(folder, { recursive: true, force: true });
  const time = releaseTime();
  const { commit, statement } = provenance(options);
  const notes = historyNotes(options.previous);
  const write = (files: readonly PackageFile[], below = ''): void => {
    for (const { path, content } of files) {
      const file = join(folder, below, path);
      mkdirSync(dirname(file), { recursive: true });
      if ('bytes' in content) writeFileSync(file, content.bytes);
    }
  };
  const one = (path: string, bytes: Uint8Array): PackageFile => ({
    path,
    content: { bytes, executable: false },
  });

  const packages = await buildArtifacts(folder, { types: true });
  write([
    one('provenance.json', Buffer.from(`${JSON.stringify(statement, null, 2)}\n`)),
    one('release-notes.md', Buffer.from(notes)),
    one(`portcullis-${version}.vsix`, await vsixOf(time)),
    one(`portcullis-schemas-${version}.tgz`, await schemas(time)),
  ]);
  if (options.images) {
    const digests = await buildImages(folder, { time, revision: commit, source: options.source });
    for (const { name, bytes } of await clusterFiles(options.registry, digests, time))
      write([one(name, bytes)]);
  }
  const debs = packages
    .filter((name) => name.endsWith('.deb'))
    .map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
  const repository = await aptRepository(debs, time);
  write(repository, 'apt');
  if (options.gpgKey !== undefined) write(signRelease(repository, options.gpgKey), 'apt');
  // The last file: a build that did not end cannot be published.
  write([one(sumsFile, Buffer.from(sums(folder)))]);
  return artifactPaths(folder);
}

/** Returns the files of the release artifact, as paths in the folder of a release, in their order. */
export function artifactPaths(folder: string): readonly string[] {
  return filesOf(folder).filter((path) => !path.startsWith(`${imagesFolder}/`));
}

/** Returns the files that `SHA256SUMS` lists: all but itself and what gpg wrote. */
export function summedPaths(folder: string): readonly string[] {
  return filesOf(folder).filter((path) => path !== sumsFile && !gpgFiles.includes(path));
}

async function schemas(time: number): Promise<Buffer> {
  const files = filesBelow(join(root, 'docs/schemas'));
  return gzipSync(await tarOf(files, { time, prefix: 'schemas/', folders: false }), { level: 9 });
}

/** Returns the text of `SHA256SUMS`, for sha256sum: every file below the folder, images included. */
function sums(folder: string): string {
  return summedPaths(folder)
    .map((path) => {
      const digest = createHash('sha256')
        .update(readFileSync(join(folder, path)))
        .digest('hex');
      return `${digest}  ${path}\n`;
    })
    .join('');
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort(compare);
}
