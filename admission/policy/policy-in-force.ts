import type { ProfileSet } from '../../entitlements/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';

/** The policy and the profiles that a replica uses for its decisions. */
export interface PolicyInForce {
  /** Undefined: there is no valid policy, and every image is refused. */
  current(): TrustPolicy | undefined;
  profiles(): ProfileSet;
  /** Why the latest policy is not in force, or why it is not known; undefined if it is in force. */
  problem(): string | undefined;
}

/**
 * Loads policies and profiles from files, as the daemon does.
 * @throws PortcullisError `TRUST_POLICY_INVALID`, with `details.problems`
 */
export type LoadPolicySet = (options: {
  readonly paths: readonly string[];
  /** The only files that the policy may name. */
  readonly within: { readonly folder: string; readonly setting: string };
}) => Promise<{
  readonly policy: TrustPolicy;
  readonly profiles: ProfileSet;
  /** The policy files, and the files and folders that they refer to. */
  readonly files: readonly string[];
  /** Caches of roots that are updated in use. */
  readonly tufRoots: readonly { readonly url: string; readonly cache: string }[];
}>;
