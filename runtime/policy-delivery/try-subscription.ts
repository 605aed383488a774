import { rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { PortcullisError } from '../../base/errors/index.ts';
import { makeTemporaryFolder } from '../../base/storage/index.ts';
import type { RegistryAccess } from '../../trust/index.ts';
import {
  filesOutside,
  openReleases,
  releaseFor,
  sha256Of,
  unpackRelease,
  updateReleases,
} from '../../trust/policy-release/index.ts';
import type { PolicyRelease } from '../../trust/policy-release/index.ts';
import type { TufStore } from '../../trust/tuf-client/index.ts';
import { loadPolicySet } from '../policy/policy-set.ts';
import { openReleaseFolder } from './release-folder.ts';
import { refersOutside } from './activation.ts';

/** The root and the release that a node would follow. */
export interface TriedSubscription {
  /** The first root of the collection. */
  readonly root: Buffer;
  /** The release that the node would take. */
  readonly release: PolicyRelease;
  readonly rules: number;
}

const mostRootBytes = 256 * 1024;

/**
 * Fetches, verifies and loads the release that a node would take, and puts nothing in force.
 * @param input.rootDigest `sha256:…` of the first root
 * @throws POLICY_ROOT_OTHER when the service serves another first root; POLICY_RELEASE_NONE when no release
 * is for the node; the codes of the metadata, the archive and the policy
 */
export async function trySubscription(input: {
  readonly service: string;
  readonly releases: string | undefined;
  readonly channel: string;
  readonly node: { readonly name?: string; readonly labels: Readonly<Record<string, string>> };
  readonly rootDigest: string;
  readonly registries: RegistryAccess;
}): Promise<TriedSubscription> {
  const { service, releases, channel, rootDigest, registries } = input;
  const source = openReleases({ service, releases, repositories: registries.repositories });
  const root = await source.metadata.fetch('1.root.json', mostRootBytes);
  if (root === undefined || `sha256:${sha256Of(root)}` !== rootDigest)
    throw refusal(
      'POLICY_ROOT_OTHER',
      service,
      root === undefined ? 'the service has no first root' : `its first root is sha256:${sha256Of(root)}`,
      'check the address, and ask the publisher for the digest of the first root',
    );
  const known = await updateReleases({
    ...{ source: source.metadata, store: inMemory(root), channel, now: new Date() },
  });
  const node = { name: input.node.name ?? hostname(), labels: input.node.labels };
  const release = releaseFor(known.releases, node);
  if (release === undefined)
    throw refusal(
      'POLICY_RELEASE_NONE',
      `${service}, channel ${channel}`,
      known.releases.length === 0
        ? 'the channel has no release'
        : 'no release has reached the stage of this node',
      'publish a release (portcullis policy publish), or let a release reach this node (portcullis policy rollout)',
    );
  const files = await unpackRelease(await source.archive(release));
  const folder = await makeTemporaryFolder('portcullis-policy-');
  try {
    const path = await (await openReleaseFolder(folder)).unpack(release, files);
    const set = await loadPolicySet({ paths: [path] });
    const outside = filesOutside(path, set)[0];
    if (outside !== undefined) throw refersOutside(release, outside);
    return { root, release, rules: set.policy.rules.length };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function inMemory(root: Buffer): TufStore {
  const kept = new Map([['root', root]]);
  return {
    load: (role) => Promise.resolve(kept.get(role)),
    save: (role, bytes) => Promise.resolve(void kept.set(role, bytes)),
  };
}

function refusal(code: string, on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code,
    kind: code === 'POLICY_RELEASE_NONE' ? 'not-found' : 'denied',
    attempted: 'follow policy releases',
    ...{ on, why, fix },
  });
}
