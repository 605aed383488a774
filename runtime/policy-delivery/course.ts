import type { Logger } from '../../base/log/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { releasePath, stageName, updateReleases } from '../../trust/policy-release/index.ts';
import type {
  KnownReleases,
  PolicyRelease,
  ReleaseSource,
  StagedNode,
} from '../../trust/policy-release/index.ts';
import { loadPolicySet } from '../policy/policy-set.ts';
import { activate, haltedBy, sourceOf } from './activation.ts';
import type { ActivationDeps } from './activation.ts';
import { isListed, planFor } from './plan.ts';
import { notYetFor } from './preview.ts';
import { storedFiles } from './release-folder.ts';
import { isSame, withHalted } from './state.ts';
import type { DeliveryState, LostAdmission } from './state.ts';

export interface CourseDeps extends ActivationDeps {
  readonly source: ReleaseSource;
  readonly channel: string;
  readonly node: StagedNode;
  readonly log: Logger;
}

/** The releases of one node: which one it has, and how it gets to another. One call at a time. */
export interface Course {
  state(): DeliveryState;
  /** Whether the release in force may not stay, and no other one is in force yet. */
  isLeft(): boolean;
  /**
   * Asks the source, and does what its answer means.
   * @param listed called when the answer is verified, before anything changes, and when `isLeft` changes;
   * false: stop
   * @throws the codes of metadata, archives, policies and storage; the release before stays in force
   */
  follow(listed: () => boolean): Promise<void>;
  /** Returns the newest release that has not reached the stage of this node, if it is newer. */
  pending(): PolicyRelease | undefined;
  /** Removes the files of releases that are neither in force, nor the one before, nor pending. */
  tidy(): Promise<void>;
  /** Returns to the release before, if it may be in force. @param from only if this release is in force */
  goBack(from: PolicyRelease, lost: readonly LostAdmission[]): Promise<void>;
  /** When refusals stop counting, in ms since 1970; 0: they do not count. */
  watchedUntil(): number;
  /** Returns the policy of the release before. */
  policyBefore(): Promise<TrustPolicy | undefined>;
}

/** @param initial what the node remembers; its active release is in force already */
export function createCourse(deps: CourseDeps, initial: DeliveryState): Course {
  const { folder, holder, log, now, node, channel } = deps;
  let state = initial;
  let isLeft = initial.left === true;
  let listedReleases: readonly PolicyRelease[] = [];
  let before: Promise<TrustPolicy | undefined> | undefined;

  const save = async (changed: DeliveryState): Promise<void> => {
    if (JSON.stringify(changed) !== JSON.stringify(state)) await folder.save(changed);
    state = changed;
  };

  /** Lets the holder read the files of the release before again. */
  const reuse = async ({ active }: DeliveryState): Promise<void> => {
    const files = active === undefined ? undefined : await storedFiles(folder, active);
    if (active === undefined || files === undefined) return;
    await holder.use(sourceOf(folder, active, await folder.unpack(active, files), files));
  };

  const take = async (
    release: PolicyRelease,
    options: { readonly must: boolean; readonly mayReturn: boolean },
    listed: () => boolean,
  ): Promise<void> => {
    const policyBefore = holder.current();
    const was = state;
    const changed = await activate(deps, release, state, options);
    if (changed.active === undefined || !isSame(changed.active, release)) return save(changed);
    state = changed;
    isLeft = false;
    listed();
    const failed = holder.problem();
    if (failed !== undefined && holder.current()?.revision !== changed.active.policyRevision) {
      // The files were valid a moment ago: the disk fails. The release before stays in force.
      isLeft = was.left === true;
      listed();
      await save(was);
      await reuse(was);
      throw new Error(failed);
    }
    before = Promise.resolve(changed.previous === undefined ? undefined : policyBefore);
    log.info(
      { release: releasePath(release), sha256: release.sha256, before: was.active?.number ?? null },
      'a policy release is in force',
    );
    await tidy();
  };

  const pending = (): PolicyRelease | undefined => notYetFor(listedReleases, state, node);
  const tidy = async (): Promise<void> => {
    const { active, previous } = state;
    await folder.forget([active, previous, pending()].filter((one) => one !== undefined));
  };

  const loadBefore = async (): Promise<TrustPolicy | undefined> => {
    const { previous } = state;
    const files = previous === undefined ? undefined : await storedFiles(folder, previous);
    if (previous === undefined || files === undefined) return undefined;
    return (await loadPolicySet({ paths: [await folder.unpack(previous, files)] })).policy;
  };

  return {
    state: () => state,
    isLeft: () => isLeft,
    pending,
    tidy,
    async follow(listed) {
      const { metadata } = deps.source;
      const known = await updateReleases({ source: metadata, store: folder.metadata, channel, now: now() });
      listedReleases = known.releases;
      const seen = noted(state, known, now());
      const plan = planFor(known.releases, seen, node);
      // Until another release is in force, also if that takes long or fails, and after a restart.
      isLeft = seen.active !== undefined && !isListed(known.releases, seen.active);
      await save(isLeft ? { ...seen, left: true } : seen);
      if (!listed() || plan.do !== 'take') return;
      const mayReturn = !plan.must && plan.release.halt.denials > 0;
      await take(plan.release, { must: plan.must, mayReturn }, listed);
    },
    async goBack(from, lost) {
      const { active, previous } = state;
      if (isLeft || active === undefined || previous === undefined || !isSame(active, from)) return;
      const halted = haltedBy(active, 'after', lost, now());
      await save(withHalted(state, halted));
      await take(previous, { must: true, mayReturn: false }, () => true);
      log.warn(
        { release: releasePath(active), back: previous.number, denials: halted.count },
        'a policy release is halted: the number of refusals rose, and the previous release is in force again',
      );
    },
    watchedUntil() {
      const { active, previous } = state;
      if (active === undefined || previous === undefined || active.halt.denials === 0) return 0;
      return Date.parse(active.since) + active.halt.watch * 1000;
    },
    policyBefore: () => (before ??= loadBefore().catch(() => undefined)),
  };
}

/** Returns the state with what the metadata say, without releases that are no longer listed. */
function noted(state: DeliveryState, { releases, expires }: KnownReleases, at: Date): DeliveryState {
  const newest = releases.find(({ withdrawn }) => !withdrawn);
  const { newest: _, left: __, previous, ...rest } = state;
  return {
    ...rest,
    // The node may not return to a withdrawn release.
    ...(previous === undefined || !isListed(releases, previous) ? {} : { previous }),
    ...(newest === undefined ? {} : { newest: { number: newest.number, stage: stageName(newest) } }),
    halted: state.halted.filter((one) => isListed(releases, one)),
    expires,
    contact: at.toISOString(),
  };
}
