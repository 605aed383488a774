import { isPortcullisError, reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { loadProfiles } from '../entitlements/index.ts';
import type { ProfileSet } from '../entitlements/index.ts';
import { loadPolicy } from '../trust/index.ts';
import type { TrustPolicy } from '../trust/index.ts';

/** The policy and the profiles in force. */
export interface PolicyHolder {
  current(): TrustPolicy | undefined;
  profiles(): ProfileSet;
  /** Why the latest load failed; undefined when it did not. */
  problem(): string | undefined;
  /** Reads the files afresh. A broken set keeps the old one, loudly. */
  reload(): Promise<void>;
}

/** Loads policies and profiles together: a policy whose profiles are broken is broken. Without any valid one everything new is denied. */
export async function openPolicy(paths: readonly string[], log: Logger): Promise<PolicyHolder> {
  let policy: TrustPolicy | undefined;
  let profiles = await loadProfiles({ paths: [] });
  let problem: string | undefined;
  const reload = async (): Promise<void> => {
    try {
      if (paths.length === 0) throw new Error('no policy is configured (--policy FILE|DIR): everything new is denied');
      const [loadedPolicy, loadedProfiles] = await Promise.all([loadPolicy({ paths }), loadProfiles({ paths })]);
      const { policy: loaded } = loadedPolicy;
      policy = loaded;
      profiles = loadedProfiles;
      problem = undefined;
      log.info({ revision: loaded.revision, rules: loaded.rules.length }, 'policy in force');
      for (const rule of loaded.rules.filter((one) => one.allowUnverified))
        log.warn({ rule: rule.name, images: rule.images }, 'this rule admits unverified images');
    } catch (cause) {
      // With its code: Status is all that a kubelet shows.
      problem = isPortcullisError(cause) ? cause.message : reasonOf(cause);
      log.error(
        { problem, revision: policy?.revision ?? null },
        policy === undefined ? 'no valid policy: everything new is denied' : 'the policy was not reloaded: the old revision stays in force',
      );
    }
  };
  await reload();
  return { current: () => policy, profiles: () => profiles, problem: () => problem, reload };
}
