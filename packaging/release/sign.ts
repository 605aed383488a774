import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import manifest from '../../package.json' with { type: 'json' };
import { requireAptSignatures } from './apt-signatures.ts';
import { artifactPaths, summedPaths } from './build.ts';
import { publishFiles, releaseDigest, requireTag } from './publish.ts';

const { version } = manifest;
const scripts = join(import.meta.dirname, '../ci/shell');

/** Attests a second list of components as the pipeline's `attest` attests the first. */
const attestSpdx =
  '. "$1/common"; portcullis_signing attest "$PORTCULLIS_IMAGE" --type spdxjson --predicate "$2"';

export interface PublishOptions {
  /** The folder that `buildRelease` wrote. */
  readonly folder: string;
  /** Registry and path, such as `registry.example.com/portcullis`. */
  readonly registry: string;
  /** The policy that must admit everything in the end. */
  readonly policy: string;
  /** Variables of the pipeline's scripts, which name the signer: `PORTCULLIS_KEY` and so on. */
  readonly environment: NodeJS.ProcessEnv;
}

/**
 * Pushes, attests and signs a release by the scripts of our own pipeline (`packaging/ci/shell`), with the
 * command of the package that is released: the images, and the artifact with all other files. Then the
 * policy must admit each of them, and the artifact must have each file. A second call after a failure
 * repeats all steps. The policy denies what is not signed yet. A tag of this version that means other content
 * is never overwritten: nothing is pushed then.
 * @returns references by digest of all that was published
 * @throws Error if the folder is not what `SHA256SUMS` lists, if a signature of its apt repository is not
 *   valid, or if a step fails
 */
export async function publishRelease(options: PublishOptions): Promise<readonly string[]> {
  const { folder, registry, policy } = options;
  requireSums(folder);
  const paths = artifactPaths(folder);
  const work = mkdtempSync(join(tmpdir(), 'pc-publish-'));
  try {
    const run = commandOf(options, work);
    const sign = (image: string, boms: string): void => {
      const env = { PORTCULLIS_IMAGE: image, PORTCULLIS_SBOM: join(folder, `${boms}.cdx.json`) };
      run(join(scripts, 'attest'), [], env);
      run('sh', ['-eu', '-c', attestSpdx, 'sh', scripts, join(folder, `${boms}.spdx.json`)], env);
      run(join(scripts, 'sign'), [], env);
      run(join(scripts, 'gate'), [], env);
    };
    const published: string[] = [];
    const images = Object.entries(imagesOf(folder, paths));
    // Nothing is pushed if one of the tags is taken.
    for (const [name, digest] of images) await requireTag(`${registry}/${name}:${version}`, digest, 'free');
    await requireTag(`${registry}/release:${version}`, releaseDigest(folder, paths), 'free');
    for (const [name, digest] of images) {
      const tag = `${registry}/${name}:${version}`;
      run('portcullis', ['images', 'push', join(folder, 'images'), tag, '--image', name]);
      await requireTag(tag, digest, 'written');
      published.push(`${registry}/${name}@${digest}`);
      sign(`${registry}/${name}@${digest}`, name);
    }
    const digest = await publishFiles(`${registry}/release:${version}`, folder, paths);
    const artifact = `${registry}/release@${digest}`;
    sign(artifact, `portcullis-${version}`);
    const files = paths.flatMap((path) => ['--file', join(folder, path)]);
    run('portcullis', ['verify', artifact, '--policy', policy, ...files]);
    return [...published, artifact];
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Returns the digests of the images; none, if the release was built without them. */
function imagesOf(folder: string, paths: readonly string[]): Readonly<Record<string, string>> {
  if (!paths.includes('images.json')) return {};
  return JSON.parse(readFileSync(join(folder, 'images.json'), 'utf8')) as Record<string, string>;
}

/** Refuses a folder of a build that has not ended, or that somebody changed after it. */
function requireSums(folder: string): void {
  const refuse = (why: string): never => {
    throw new Error(`publish the release in ${folder}: ${why}; build it again by npm run release`);
  };
  let listed: readonly string[];
  try {
    listed = readFileSync(join(folder, 'SHA256SUMS'), 'utf8').trimEnd().split('\n');
  } catch {
    return refuse('it has no SHA256SUMS');
  }
  const found = summedPaths(folder).map((path) => {
    const digest = createHash('sha256')
      .update(readFileSync(join(folder, path)))
      .digest('hex');
    return `${digest}  ${path}`;
  });
  const other = found.find((line) => !listed.includes(line)) ?? listed.find((line) => !found.includes(line));
  if (other !== undefined) refuse(`${other.slice(66)} differs from what SHA256SUMS lists`);
  try {
    requireAptSignatures(folder);
  } catch (thrown) {
    refuse((thrown as Error).message);
  }
}

type Run = (program: string, words: readonly string[], env?: NodeJS.ProcessEnv) => string;

/** Installs the package of the release, and returns a function that runs a step with it, or throws. */
function commandOf({ folder, policy, environment }: PublishOptions, work: string): Run {
  // The command of a package runs by the Node of npm, else of PATH, which may be an old one.
  const path = `${dirname(process.execPath)}${delimiter}${environment['PATH'] ?? ''}`;
  const base: NodeJS.ProcessEnv = {
    ...environment,
    PATH: path,
    npm_node_execpath: process.execPath,
    PORTCULLIS_PACKAGE: join(folder, `portcullis-${version}.tgz`),
    PORTCULLIS_HOME: join(work, 'command'),
    PORTCULLIS_REPORTS: join(work, 'reports'),
    PORTCULLIS_PROVENANCE: join(folder, 'provenance.json'),
    PORTCULLIS_SBOM_TYPE: 'cyclonedx',
    PORTCULLIS_ENTITLEMENTS: '',
    PORTCULLIS_POLICY: policy,
  };
  const call = (program: string, words: readonly string[], env: NodeJS.ProcessEnv): string => {
    const ended = spawnSync(program, words, {
      env,
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (ended.status === 0) return ended.stdout;
    const why = ended.error?.message ?? `it ended with ${ended.status ?? ended.signal}`;
    const step = [program, ...words.slice(0, 2)].join(' ');
    throw new Error(`publish the release: run ${step}: ${why}\n${ended.stdout}${ended.stderr}`);
  };
  const bin = call(join(scripts, 'setup'), [], base).trim();
  const PATH = `${bin}${delimiter}${path}`;
  return (program, words, env = {}) => call(program, words, { ...base, PATH, ...env });
}
