import type { NetworkEngine } from '../../cni-plugins/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import type { StatusResponse } from '../cri/contract/contract.types.ts';
import type { Init } from '../cri/contract/init.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';

/** What the daemon says of itself. */
export interface RuntimeReport {
  status(verbose: boolean): Promise<Init<StatusResponse>>;
}

/** The policy in force, or why there is none. */
export interface PolicyState {
  current(): TrustPolicy | undefined;
  /** One sentence about the latest load that failed. */
  problem(): string | undefined;
}

/**
 * Conditions as the kubelet reads them (cri-api RuntimeCondition): RuntimeReady and NetworkReady decide whether pods are placed;
 * PolicyReady is ours, and tells that everything new is denied.
 */
export function createReport(parts: {
  readonly network: Pick<NetworkEngine, 'status'>;
  readonly policy: PolicyState;
  readonly handlers: readonly RuntimeHandler[];
  readonly defaultRuntime: string;
  /** Plain JSON shown by `crictl info`. */
  readonly details: () => Readonly<Record<string, unknown>>;
}): RuntimeReport {
  return {
    status: async (verbose) => {
      const network = await parts.network.status();
      const policy = parts.policy.current();
      const problem = parts.policy.problem();
      return {
        status: {
          conditions: [
            { type: 'RuntimeReady', status: true, reason: '', message: '' },
            { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
            {
              type: 'PolicyReady',
              status: policy !== undefined && problem === undefined,
              reason: policy === undefined ? 'NoValidPolicy' : problem === undefined ? '' : 'ReloadFailed',
              message: problem ?? '',
            },
          ],
        },
        // What a handler can do beyond the plain contract is told once a probe has shown it; until then: nothing.
        runtimeHandlers: ['', ...parts.handlers.map((handler) => handler.name)].map((name) => ({ name, features: {} })),
        features: { supplementalGroupsPolicy: true },
        ...(verbose && {
          info: { config: JSON.stringify({ ...parts.details(), policyRevision: policy?.revision, defaultRuntime: parts.defaultRuntime }) },
        }),
      };
    },
  };
}
