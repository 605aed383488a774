import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { loadProfiles } from '../../entitlements/index.ts';
import type { ProfileSet } from '../../entitlements/index.ts';
import type { TrustPolicy, TufRoot } from '../../trust/index.ts';
import { standingExceptions } from '../../trust/policy/index.ts';
import type { PolicySources } from '../../trust/policy/index.ts';
import { watchPolicyFiles } from './policy-files.ts';
import { changeableByOthers } from './changeable-by-others.ts';
import { loadPolicySet } from './policy-set.ts';

/** The policy and the profiles in force. */
export interface PolicyHolder {
  current(): TrustPolicy | undefined;
  profiles(): ProfileSet;
  /** The sources of the policy in force; undefined without one. */
  sources(): PolicySources | undefined;
  /** TUF repositories whose roots the policy in force reads. */
  tufRoots(): readonly TufRoot[];
  /** Why the latest load failed; undefined if it succeeded. */
  problem(): string | undefined;
  /** How many loads of the policy succeeded, and how many failed. */
  loads(): { readonly loaded: number; readonly failed: number };
  /**
   * Reads the files again. If the new set is broken, the old policy stays in force, and an error is logged.
   */
  reload(): Promise<void>;
  /**
   * Loads the policy from another place from now on. If it is broken, the old policy stays in force, and
   * `problem` says why.
   */
  use(source: PolicySource): Promise<void>;
  /**
   * Limits what the policy admits, whatever its files say. `everything`: there is no policy. `new`: it
   * decides only about content that is here already. Undefined ends the limit.
   */
  limit(limit: PolicyLimit | undefined): void;
  /** Why its source has no policy yet, or none any more; undefined: it has one, or its files are wrong. */
  lacking(): string | undefined;
  /** Why nothing may be admitted that is not here already; undefined: it may. */
  refusesNew(): string | undefined;
  /** Calls back after another revision takes effect. Returns unsubscribe. */
  onChange(listener: (policy: TrustPolicy) => void): () => void;
  close(): void;
}

/** Where a policy comes from. */
export interface PolicySource {
  /** Files and folders; none: there is no policy. */
  readonly paths: readonly string[];
  /** Why there is no policy when there are no paths. */
  readonly lacking?: string;
  /** A release of a subscribed policy, for the log. */
  readonly release?: string;
  /** Called before each load. Throws if the files are not what they were when they were verified. */
  readonly intact?: () => Promise<void>;
}

export interface PolicyLimit {
  readonly refuses: 'everything' | 'new';
  readonly why: string;
}

const lackOf = (limit: PolicyLimit | undefined, source: PolicySource): string | undefined =>
  limit?.refuses === 'everything' ? limit.why : source.lacking;

/** Why the daemon reads its policy. */
type Cause = 'start' | 'signal' | 'change' | 'release';

const noPolicy = 'no policy is configured (--policy FILE|DIR): all new images and containers are denied';

/** The time that the files may take to be read, in ms. */
const defaultPatienceMs = 10_000;

/**
 * Loads policies and profiles together: a policy with broken profiles is broken. Without a valid policy every
 * new image is denied. Watches the files and all files that they refer to, and loads a change once it is
 * complete. Files whose server does not answer are a problem, and the policy in force stays: nothing waits
 * for them, and they are not read again before the server has answered (docs/decisions/0084).
 */
export async function openPolicy(
  given: PolicySource,
  log: Logger,
  patienceMs = defaultPatienceMs,
): Promise<PolicyHolder> {
  let policy: TrustPolicy | undefined;
  let profiles = await loadProfiles({ paths: [] });
  let sources: PolicySources | undefined;
  let tufRoots: readonly TufRoot[] = [];
  let problem: string | undefined;
  let limited: PolicyLimit | undefined;
  let source = given;
  let files = source.paths;
  const count = { loaded: 0, failed: 0 };
  const listeners = new Set<(policy: TrustPolicy) => void>();

  const load = async (cause: Cause): Promise<void> => {
    const { paths, release, intact, lacking = noPolicy } = source;
    const from = release === undefined ? {} : { release };
    try {
      if (paths.length === 0) throw new Error(lacking);
      await intact?.();
      const set = await loadPolicySet({ paths });
      const { policy: loaded } = set;
      const changed = policy === undefined ? cause === 'release' : policy.revision !== loaded.revision;
      // The files were touched, but their content is the same.
      const silent = cause === 'change' && !changed && policy !== undefined && problem === undefined;
      policy = loaded;
      ({ profiles, sources, tufRoots } = set);
      problem = undefined;
      files = [...paths, ...set.files];
      count.loaded += 1;
      if (silent) return;
      log.info({ revision: loaded.revision, rules: loaded.rules.length, ...from, cause }, 'policy in force');
      if (changed) for (const listener of listeners) listener(loaded);
      reportLoose(loaded, files, log);
    } catch (cause_) {
      // With the error code: Status is all that a kubelet shows.
      problem = isPortcullisError(cause_) ? cause_.message : reasonOf(cause_);
      files = [...files, ...filesOf(cause_)];
      count.failed += 1;
      log.error(
        { problem, revision: policy?.revision ?? null, ...from, cause },
        policy === undefined
          ? 'there is no valid policy: all new images and containers are denied'
          : 'the policy was not reloaded: the old revision stays in force',
      );
    }
  };
  // One load at a time: an older read never overtakes a newer one.
  let last: Promise<void> = Promise.resolve();
  let reading: Promise<void> | undefined;
  const reportSilent = (): void => {
    const silence = `the file system of the policy files does not answer: ${source.paths.join(', ')}; check their file server (\`mount\`), or unmount it`;
    if (problem === silence) return;
    problem = silence;
    count.failed += 1;
    log.error(
      { problem, revision: policy?.revision ?? null },
      policy === undefined
        ? 'there is no valid policy: all new images and containers are denied'
        : 'the policy cannot be read: the old revision stays in force',
    );
  };
  const read = async (cause: Cause): Promise<void> => {
    const begun = new Date();
    await load(cause);
    await watcher.follow([...new Set(files)], begun);
    reading = undefined;
  };
  const isLate = async (one: Promise<void>): Promise<boolean> => {
    const late = Promise.withResolvers<true>();
    const timer = setTimeout(() => late.resolve(true), patienceMs);
    const found = await Promise.race([one.then(() => false), late.promise]);
    clearTimeout(timer);
    return found;
  };
  /** Reads once. A reading that is late goes on alone, and no other begins before it has ended. */
  const turn = async (cause: Cause): Promise<void> => {
    if (reading === undefined || !(await isLate(reading))) {
      reading = read(cause);
      if (!(await isLate(reading))) return;
    }
    reportSilent();
  };
  const inTurn = (cause: Cause): Promise<void> => {
    last = last.then(() => turn(cause));
    return last;
  };
  const watcher = watchPolicyFiles(() => void inTurn('change'), { afterMs: patienceMs, reportSilent });
  await inTurn('start');
  const current = (): TrustPolicy | undefined => (limited?.refuses === 'everything' ? undefined : policy);
  return {
    current,
    profiles: () => profiles,
    sources: () => (current() === undefined ? undefined : sources),
    tufRoots: () => tufRoots,
    problem: () => limited?.why ?? problem,
    loads: () => ({ ...count }),
    reload: () => inTurn('signal'),
    use(next) {
      source = next;
      return inTurn('release');
    },
    limit(next) {
      const had = current();
      limited = next;
      const now = current();
      // Decisions that could not be made meanwhile are made now.
      if (had === undefined && now !== undefined) for (const listener of listeners) listener(now);
    },
    lacking: () => (current() === undefined ? lackOf(limited, source) : undefined),
    refusesNew: () => limited?.why,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: () => watcher.close(),
  };
}

/**
 * Logs the rules that admit images without the evidence that they could require, and the files that a user
 * other than root can change. These stay in force: a tool that fetches a policy may run as another user.
 */
function reportLoose(policy: TrustPolicy, files: readonly string[], log: Logger): void {
  // Not awaited: a file server that stops answering now must not delay the next policy.
  void changeableByOthers(files).then((found) => {
    for (const { path, writers } of found)
      log.warn({ path }, `a user other than root can change the policy: ${writers}`);
  });
  for (const rule of policy.rules.filter((one) => one.allowUnverified))
    log.warn({ rule: rule.name, images: rule.images }, 'this rule admits unverified images');
  for (const exception of standingExceptions(policy, new Date())) {
    const { ended, ...facts } = exception;
    log.warn(
      facts,
      ended
        ? 'the break-glass exception of this rule has expired: remove it'
        : `this rule does not refuse images (${exception.kind})`,
    );
  }
}

/** Returns the files of a policy that could not be loaded: a fix of one of them may fix the policy. */
function filesOf(cause: unknown): readonly string[] {
  const files = isPortcullisError(cause) ? cause.failure.details?.['files'] : undefined;
  return Array.isArray(files) ? files.filter((file): file is string => typeof file === 'string') : [];
}
