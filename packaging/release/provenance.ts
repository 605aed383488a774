import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { architectures } from '../deb/control.ts';
import { lockedPackages } from '../archives/npm-package.ts';
import { debianLock } from '../oci/debian-packages.ts';
import { debPurl, npmPurl } from '../sbom/components.ts';
import { platformPackages } from '../artifacts/platform.ts';

const root = join(import.meta.dirname, '../..');

export interface ProvenanceInput {
  /** URI of the repository, such as `git+https://example.com/portcullis`. */
  readonly source: string;
  /** URI of the builder. A policy compares it: `builder.id` (SLSA v1, Builder). */
  readonly builder: string;
  /** Registry and path of the images, which the chart names. */
  readonly registry: string;
}

/**
 * Returns the commit, and the predicate of the provenance (SLSA v1, buildDefinition and runDetails), for
 * `portcullis attest --type slsaprovenance1`. It contains no times, so a rebuild gives the same bytes.
 * @throws Error if the sources are not a checkout of git
 */
export function provenance({ source, builder, registry }: ProvenanceInput): {
  readonly commit: string;
  readonly statement: object;
} {
  const commit = git('rev-parse', 'HEAD');
  const locked = lockedPackages(root);
  const pinned = architectures.flatMap(platformPackages).map((name) => {
    const { version = '', integrity = '' } = locked[`node_modules/${name}`] ?? {};
    const sha512 = Buffer.from(integrity.replace(/^sha512-/u, ''), 'base64').toString('hex');
    return { uri: npmPurl(name, version), digest: { sha512 } };
  });
  const debian = Object.entries(debianLock().packages).flatMap(([architecture, debs]) =>
    debs.map(({ name, version, sha256: digest }) => ({
      uri: debPurl(name, version, architecture),
      digest: { sha256: digest },
    })),
  );
  const statement = {
    buildDefinition: {
      buildType: 'https://portcullis.dev/release/v1',
      externalParameters: { source, ref: commit, command: 'npm run release', registry },
      internalParameters: {},
      resolvedDependencies: [
        { uri: source, digest: { gitCommit: commit } },
        {
          uri: 'package-lock.json',
          digest: { sha256: sha256(readFileSync(join(root, 'package-lock.json'))) },
        },
        ...pinned,
        ...debian,
      ],
    },
    runDetails: { builder: { id: builder } },
  };
  return { commit, statement };
}

function git(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`the commit of the release is unknown: git says ${stderr.trim()}`);
  return stdout.trim();
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
