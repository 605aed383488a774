import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { filesOutside, isFor, unpackRelease } from '../../trust/policy-release/index.ts';
import type { PolicyRelease, StagedNode } from '../../trust/policy-release/index.ts';
import { loadPolicySet } from '../policy/policy-set.ts';
import { mostNamed, refersOutside } from './activation.ts';
import type { ActivationDeps } from './activation.ts';
import { isSame } from './state.ts';
import type { DeliveryState, LostAdmission } from './state.ts';

/** The expected refusals of a release that is not in force here. */
export interface ReleasePreview {
  /** `CHANNEL/NUMBER`. */
  readonly release: string;
  /** The revision as this node loads it; absent when it could not. */
  readonly revision?: string;
  /**
   * The first workloads that the policy in force admits and this release would not, and how many there are.
   */
  readonly denials: readonly LostAdmission[];
  readonly count: number;
  /** Why the node could not decide by the release. */
  readonly problem?: string;
}

/** Decides by the release that has not reached the stage of this node, and puts nothing in force. */
export interface Preview {
  /** Decides again. Never throws. @param release undefined: there is none */
  look(release: PolicyRelease | undefined): Promise<void>;
  current(): ReleasePreview | undefined;
}

/**
 * The archive is stored, so that it is not fetched again when the release reaches the node. The loaded policy
 * stays in memory: workloads change, and each look decides about them again.
 */
export function createPreview(
  deps: Pick<ActivationDeps, 'folder' | 'outlook'> & {
    readonly source: Pick<ActivationDeps['source'], 'archive'>;
  },
): Preview {
  const { folder, source, outlook } = deps;
  let loaded: { readonly release: PolicyRelease; readonly policy: TrustPolicy } | undefined;
  let found: ReleasePreview | undefined;

  async function load(release: PolicyRelease): Promise<TrustPolicy> {
    const stored = await folder.archive(release);
    const archive = stored ?? (await source.archive(release));
    const files = await unpackRelease(archive);
    // Without space for the archive, it is fetched again later.
    if (stored === undefined) await folder.keepArchive(release, archive).catch(() => undefined);
    const path = await folder.unpack(release, files);
    const set = await loadPolicySet({ paths: [path] });
    const outside = filesOutside(path, set)[0];
    if (outside !== undefined) throw refersOutside(release, outside);
    return set.policy;
  }

  async function decide(release: PolicyRelease): Promise<ReleasePreview> {
    const name = `${release.channel}/${release.number}`;
    try {
      if (loaded === undefined || !isSame(loaded.release, release))
        loaded = { release, policy: await load(release) };
      const { policy } = loaded;
      const lost = await outlook.foresee(policy);
      return {
        ...{ release: name, revision: policy.revision },
        ...{ denials: lost.slice(0, mostNamed), count: lost.length },
      };
    } catch (thrown) {
      const problem = isPortcullisError(thrown) ? thrown.message : reasonOf(thrown);
      return { release: name, denials: [], count: 0, problem };
    }
  }

  return {
    async look(release) {
      if (release === undefined) [loaded, found] = [undefined, undefined];
      else found = await decide(release);
    },
    current: () => found,
  };
}

/**
 * Returns the newest release that is not for a node yet, if it is newer than the release in force. Pure.
 * @param releases newest first, as the signed metadata list them
 */
export function notYetFor(
  releases: readonly PolicyRelease[],
  { active }: Pick<DeliveryState, 'active'>,
  node: StagedNode,
): PolicyRelease | undefined {
  const newest = releases.find(({ withdrawn }) => !withdrawn);
  return newest === undefined || active === undefined || newest.number <= active.number || isFor(newest, node)
    ? undefined
    : newest;
}
