import type { RegistryClientOptions } from '../base/distribution/index.ts';
import type { Logger } from '../base/log/index.ts';
import type { Database } from '../base/storage/index.ts';
import type { ClusterPolicy } from './cluster-policy/cluster-policy.ts';
import type { DaemonConfig } from './config/types.ts';
import type { ContainerRecord } from './containers/record.ts';
import type { ContainerService } from './containers/container-service.ts';
import type { Enforcement } from './enforcement/enforcement.ts';
import { startEnforcement } from './enforcement/open.ts';
import type { EventHub } from './events/hub.ts';
import type { OpenImageStore } from './images/index.ts';
import type { SandboxRecord } from './pods/record.ts';
import type { PolicyHolder } from './policy/policy-watch.ts';
import { createPolicyAdmin } from './policy-admin.ts';
import type { PolicyAdmin } from './policy-admin.ts';
import type { PolicyDelivery } from './policy-delivery/delivery.ts';
import { createOutlook, runningWorkloads } from './redecision/preview-refusals.ts';
import { policyChange } from './redecision/policy-change.ts';
import { createRedecision } from './redecision/redecision.ts';
import type { Redecision } from './redecision/redecision.ts';
import { openRenewals } from './renewal/open-renewals.ts';
import type { Renewals } from './renewal/open-renewals.ts';
import type { WatchedRecords } from './state/records.ts';

/**
 * Consequences of the policy for content that is here already: new decisions, checks of the node, renewals.
 */
export interface PolicySide {
  readonly redecision: Redecision;
  readonly enforcement: Enforcement;
  readonly renewals: Renewals;
  /** Answers commands about the policy. */
  readonly admin: PolicyAdmin;
  /** Waits for what is in progress; nothing follows. */
  close(): Promise<void>;
}

export interface PolicySideDeps {
  readonly policy: PolicyHolder;
  /** Undefined: the node follows no signed releases. */
  readonly policyDelivery: PolicyDelivery | undefined;
  /** Undefined: the policy is not in objects of the cluster. */
  readonly clusterPolicy: ClusterPolicy | undefined;
  readonly registryOptions: RegistryClientOptions;
  readonly store: OpenImageStore;
  readonly database: Database;
  readonly containers: Pick<ContainerService, 'stop'>;
  readonly containerRecords: WatchedRecords<ContainerRecord>;
  readonly sandboxRecords: WatchedRecords<SandboxRecord>;
  readonly events: EventHub;
  readonly log: Logger;
}

/**
 * Starts renewals, and follows the releases of a subscribed policy, or the policies of the cluster.
 * Decisions and checks do not start before their first request.
 */
export function openPolicySide(config: DaemonConfig, deps: PolicySideDeps): PolicySide {
  const { policy, store, database, containers, containerRecords, sandboxRecords, events, log } = deps;
  const redecision = createRedecision({
    policy,
    images: store,
    containers: containerRecords,
    sandbox: sandboxRecords.get,
    act: config.verdicts.outOfPolicy,
    stop: containers.stop,
    onChange: (container, found) => events.reportPolicy(container, policyChange(found)),
    log: log.child({ component: 'redecision' }),
  });
  const enforcement = startEnforcement(config, {
    database,
    policy,
    redecision,
    events,
    store,
    containerRecords,
    sandboxRecords,
    log,
  });
  deps.policyDelivery?.begin({
    holder: policy,
    registries: deps.registryOptions,
    outlook: createOutlook({
      ...{ policy, images: store, workloads: runningWorkloads(containerRecords, sandboxRecords.get) },
    }),
  });
  deps.clusterPolicy?.begin(policy);
  const renewals = openRenewals({ policy, images: store, redecision, log });
  return {
    redecision,
    enforcement,
    renewals,
    admin: createPolicyAdmin(policy, deps.policyDelivery, deps.clusterPolicy),
    async close() {
      await Promise.all([deps.policyDelivery?.close(), deps.clusterPolicy?.close()]);
      await Promise.all([enforcement.close(), renewals.close()]);
      await redecision.close();
    },
  };
}
