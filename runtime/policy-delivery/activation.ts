import { isPortcullisError, PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { filesOutside, releasePath, unpackRelease } from '../../trust/policy-release/index.ts';
import type { PolicyRelease, ReleaseFiles, ReleaseSource } from '../../trust/policy-release/index.ts';
import { loadPolicySet } from '../policy/policy-set.ts';
import type { PolicyHolder, PolicySource } from '../policy/policy-watch.ts';
import type { ReleaseFolder } from './release-folder.ts';
import { isSame, withHalted } from './state.ts';
import type { ActiveRelease, DeliveryState, LostAdmission } from './state.ts';

/** Decides by a policy that is not in force. */
export interface Outlook {
  /** Returns the workloads of this node that the policy in force admits, and this one would not. */
  foresee(policy: TrustPolicy): Promise<readonly LostAdmission[]>;
}

export interface ActivationDeps {
  readonly folder: ReleaseFolder;
  readonly holder: Pick<PolicyHolder, 'current' | 'problem' | 'use'>;
  readonly source: Pick<ReleaseSource, 'archive'>;
  readonly outlook: Outlook;
  readonly log: Logger;
  readonly now: () => Date;
}

/** The most workloads that a record of a halted release names. */
export const mostNamed = 100;

/**
 * Puts a release in force: fetches, verifies and unpacks it, loads it as the daemon loads any policy, and
 * compares what it would refuse. The node's record names it only when everything is there. Until then, and
 * if anything fails, the release before it stays in force.
 * @param options.must a denial does not keep the node from it
 * @param options.mayReturn the release before it is remembered
 * @returns the state of the node, with the release in force or halted
 * @throws PortcullisError the codes of archives and policies; `POLICY_RELEASE_UNSTORED` when it cannot be
 * kept
 */
export async function activate(
  deps: ActivationDeps,
  release: PolicyRelease,
  state: DeliveryState,
  options: { readonly must: boolean; readonly mayReturn: boolean },
): Promise<DeliveryState> {
  const { folder, holder, outlook, log, now } = deps;
  const archive = (await folder.archive(release)) ?? (await deps.source.archive(release));
  const files = await unpackRelease(archive);
  const path = await stored(release, () => folder.unpack(release, files));
  const set = await loadPolicySet({ paths: [path] });
  const outside = filesOutside(path, set)[0];
  if (outside !== undefined) throw refersOutside(release, outside);
  const { denials } = release.halt;
  if (!options.must && denials > 0 && holder.current() !== undefined) {
    const lost = await outlook.foresee(set.policy);
    if (lost.length >= denials) {
      log.warn(
        { release: releasePath(release), denials: lost.length, first: lost[0] },
        'a policy release is halted, because it would refuse running workloads of this node',
      );
      return withHalted(state, haltedBy(release, 'before', lost, now()));
    }
  }
  const active: ActiveRelease = {
    ...release,
    since: now().toISOString(),
    policyRevision: set.policy.revision,
  };
  const next: DeliveryState = {
    ...withoutActive(state),
    active,
    ...(options.mayReturn && state.active !== undefined ? { previous: state.active } : {}),
    halted: state.halted.filter((one) => one.when === 'after' || !isSame(one, release)),
  };
  await stored(release, async () => {
    await folder.keepArchive(release, archive);
    await folder.save(next);
  });
  await holder.use(sourceOf(folder, release, path, files));
  return next;
}

/** Returns a halted release, with the first of the workloads. */
export function haltedBy(
  { number, sha256 }: PolicyRelease,
  when: 'before' | 'after',
  lost: readonly LostAdmission[],
  at: Date,
): DeliveryState['halted'][number] {
  return {
    ...{ number, sha256, when, at: at.toISOString() },
    ...{ denials: lost.slice(0, mostNamed), count: lost.length },
  };
}

/** Returns a release as the holder of the policy loads it. */
export function sourceOf(
  folder: ReleaseFolder,
  release: PolicyRelease,
  path: string,
  files: ReleaseFiles,
): PolicySource {
  return {
    paths: [path],
    release: `${release.channel}/${release.number}`,
    intact: () => folder.refuseAltered(path, files),
  };
}

/** Returns the state without what it says about the release in force and the one before. */
function withoutActive(state: DeliveryState): DeliveryState {
  const { active: _, previous: __, left: ___, ...rest } = state;
  return rest;
}

async function stored<T>(release: PolicyRelease, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw new PortcullisError({
      code: 'POLICY_RELEASE_UNSTORED',
      kind: 'unavailable',
      attempted: 'keep policy release',
      on: releasePath(release),
      why: isPortcullisError(error) ? error.failure.why : reasonOf(error),
      fix: 'free space on the file system of `root`; until then, the previous release stays in force',
      cause: error,
    });
  }
}

export function refersOutside(release: PolicyRelease, file: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_RELEASE_OUTSIDE',
    kind: 'invalid',
    attempted: 'use policy release',
    on: releasePath(release),
    why: `it refers to ${file}, which is not in the release`,
    fix: 'put every file that the policy refers to into the folder of the policy, and publish it again',
  });
}
