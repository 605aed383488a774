import type { NetworkEngine } from '../../cni-plugins/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import { standingExceptions } from '../../trust/policy/index.ts';
import type { RuntimeHandler as StatusHandler, StatusResponse } from '../cri/contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';
import type { EnforcementState } from '../enforcement/enforcement.ts';
import type { HandlerFeatures } from '../oci/handler-features.ts';
import { mountOptionsSupported } from '../oci/mount-options.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import type { Obstacle } from './readiness.ts';

const firstLookMs = 2_000;

/** The report of the daemon about itself. */
export interface RuntimeReport {
  status(verbose: boolean): Promise<Init<StatusResponse>>;
}

/** The policy in force, or why there is none. */
export interface PolicyState {
  current(): TrustPolicy | undefined;
  /** Returns one sentence about the latest load, if it failed. */
  problem(): string | undefined;
  /** Returns how the node stands to the releases or objects that it follows. Plain JSON. */
  following(): object;
  /** Returns the evidence and roots that the policy depends on and that could not be renewed. Plain JSON. */
  trouble(): object;
}

/**
 * Creates the report. Conditions as the kubelet reads them (cri-api RuntimeCondition): RuntimeReady and
 * NetworkReady decide whether pods are scheduled. PolicyReady is our own, and reports whether all new images
 * and containers are denied.
 */
export function createReport(parts: {
  readonly network: Pick<NetworkEngine, 'status'>;
  /** The network that the cluster assigns to the node, if one is configured. Plain JSON. */
  readonly nodeNetwork: () => Promise<object | undefined>;
  readonly policy: PolicyState;
  /** Why no pod or no container can start. A verbose report does not rely on an earlier check. */
  readonly obstacle: (verbose: boolean) => Promise<Obstacle | undefined>;
  /** The state of enforcement. */
  readonly enforcement: () => EnforcementState;
  readonly handlers: readonly RuntimeHandler[];
  readonly features: { within(handlerName: string, ms: number): Promise<HandlerFeatures> };
  readonly defaultRuntime: string;
  /** Whether containers can have writable cgroups on this node. */
  readonly writableCgroups: () => Promise<boolean>;
  /** Plain JSON shown by `crictl info`. */
  readonly details: () => Readonly<Record<string, unknown>>;
}): RuntimeReport {
  /**
   * Only features that were seen. The very first start has to probe first, and no caller waits long for that.
   */
  const handlerFeatures = async (name: string): Promise<Init<StatusHandler>> => {
    const { recursiveReadOnlyMounts, userNamespaces } = await parts.features.within(name, firstLookMs);
    return { name, features: { recursiveReadOnlyMounts, userNamespaces } };
  };
  return {
    status: async (verbose) => {
      const [network, obstacle] = await Promise.all([parts.network.status(), parts.obstacle(verbose)]);
      const policy = parts.policy.current();
      const problem = parts.policy.problem();
      const runtimeHandlers = await Promise.all(
        ['', ...parts.handlers.map((handler) => handler.name)].map(handlerFeatures),
      );
      const [byDefault] = runtimeHandlers;
      const nodeNetwork = verbose ? await parts.nodeNetwork() : undefined;
      return {
        status: {
          conditions: [
            {
              type: 'RuntimeReady',
              status: obstacle === undefined,
              reason: obstacle?.reason ?? '',
              message: obstacle?.message ?? '',
            },
            { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
            {
              type: 'PolicyReady',
              status: policy !== undefined && problem === undefined,
              reason: policy === undefined ? 'NoValidPolicy' : problem === undefined ? '' : 'ReloadFailed',
              message: problem ?? '',
            },
          ],
        },
        runtimeHandlers,
        features: {
          supplementalGroupsPolicy: true,
          mountOptions: mountOptionsSupported,
          userNamespacesHostNetwork: byDefault?.features?.userNamespaces === true,
          cgroupMountMode: await parts.writableCgroups(),
        },
        ...(verbose && {
          info: {
            policy: JSON.stringify({
              ...policyInfo(policy, problem),
              ...parts.policy.trouble(),
              ...parts.policy.following(),
            }),
            ...(network.policies !== undefined && { networkPolicies: JSON.stringify(network.policies) }),
            ...(nodeNetwork !== undefined && { nodeNetwork: JSON.stringify(nodeNetwork) }),
            enforcement: JSON.stringify(parts.enforcement()),
            config: JSON.stringify(
              {
                ...parts.details(),
                policyRevision: policy?.revision,
                defaultRuntime: parts.defaultRuntime,
                runtimeKinds: Object.fromEntries(parts.handlers.map(({ name, kind }) => [name, kind])),
                separateKernels: parts.handlers.flatMap(({ name, guestKernel }) =>
                  guestKernel === undefined ? [] : [name],
                ),
              },
              // Limits of the kernel have 64 bits.
              (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value),
            ),
          },
        }),
      };
    },
  };
}

/** Returns which policy is in force, and what it admits without verification. */
function policyInfo(policy: TrustPolicy | undefined, problem: string | undefined): object {
  return {
    inForce: policy !== undefined,
    revision: policy?.revision ?? '',
    rules: policy?.rules.length ?? 0,
    unverified:
      policy?.rules
        .filter((rule) => rule.allowUnverified)
        .map(({ name, images }) => ({ rule: name, images })) ?? [],
    exceptions: policy === undefined ? [] : standingExceptions(policy, new Date()),
    ...(problem !== undefined && { problem }),
  };
}
