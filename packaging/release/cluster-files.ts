import { globSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import manifest from '../../package.json' with { type: 'json' };
import { textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import { tarOf } from '../archives/tar.ts';

const kubernetes = join(import.meta.dirname, '../kubernetes');
const { version } = manifest;

/** The registry of the sources, which a release replaces. */
export const exampleRegistry = 'registry.example.com/portcullis';

export const bases = ['webhook', 'fleet', 'trust', 'node-installer'];

/**
 * Returns the Helm chart and the kustomize bases of a release, as archives that name each image by its
 * digest.
 * @param registry registry and path of the images
 * @param digests the digest of each image, by its name
 * @param time time of the release, in seconds since 1970
 * @throws Error if an image has no digest
 */
export async function clusterFiles(
  registry: string,
  digests: Readonly<Record<string, string>>,
  time: number,
): Promise<readonly { readonly name: string; readonly bytes: Buffer }[]> {
  const missing = bases.find((name) => !/^sha256:[0-9a-f]{64}$/u.test(digests[name] ?? ''));
  if (missing !== undefined) throw new Error(`the image ${missing} has no digest`);
  const pinned = (text: string): string =>
    text
      .replaceAll(
        new RegExp(`${exampleRegistry}/([a-z-]+):${version.replaceAll('.', '\\.')}`, 'gu'),
        (_, name: string) => `${registry}/${name}@${digests[name] ?? ''}`,
      )
      .replace(`registry: ${exampleRegistry}`, `registry: ${registry}`)
      // The line of `chart/digests.yaml`.
      .replace(/^\{ webhook: ''.*$/mu, JSON.stringify(digests));
  const files = (folders: readonly string[]): PackageFile[] =>
    folders
      .flatMap((folder) => globSync(`${folder}/**/{*.*,.helmignore}`, { cwd: kubernetes }))
      .filter((path) => !/\.test\.ts$|README\.md$/u.test(path))
      // A link of the chart leads to the definitions.
      .map((path) => textFile(path, pinned(readFileSync(realpathSync(join(kubernetes, path)), 'utf8'))));
  const chart = files(['chart']).map((file) => ({
    ...file,
    path: file.path.replace('chart/', 'portcullis/'),
  }));
  const archive = async (content: readonly PackageFile[]): Promise<Buffer> =>
    gzipSync(await tarOf(content, { time, prefix: '', folders: false }), { level: 9 });
  return [
    { name: `portcullis-chart-${version}.tgz`, bytes: await archive(chart) },
    { name: `portcullis-kustomize-${version}.tgz`, bytes: await archive(files(bases)) },
  ];
}
