import type { CniResult } from '../spec/result.ts';
import type { Plugin, ResourceKernel } from '../plugins/contract/contract.ts';
import { otherOwners } from '../spec/service-rules.ts';
import type { Addressing } from './addressing.ts';
import type { Host } from '../namespaces/caller.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { ownerOfCall } from '../database/memberships.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import { addressResult, chosenMac, linkOf, planInput } from './plugin-call-values.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import type { PodPolicies } from './pod-policies.ts';
import type { Reading } from './plugin-reading.ts';
import { createTakenMacs } from './mac-conflicts.ts';

/**
 * Plans what an ADD creates, and records the plan: addresses, resources and result, in one transaction. The
 * kernel is only read.
 */
export interface PartPlans {
  /** Runs the IPAM plugin alone, called by a third-party plugin. */
  leaseOnly(reading: Reading, call: PluginCall, host: Host): CniResult;
  /** @param delegated the result of a third-party IPAM plugin that was called before */
  plan(
    adding: Adding,
    host: Host,
    kernel: ResourceKernel,
    delegated: CniResult | undefined,
  ): PluginAttachment;
  /** Plans the second half of an ADD, whose first half leased the addresses. */
  planRest(
    pluginAttachment: PluginAttachment,
    adding: Adding,
    host: Host,
    kernel: ResourceKernel,
  ): PluginAttachment;
}

/** One ADD of a plugin of ours. */
export interface Adding {
  readonly plugin: Plugin;
  readonly reading: Reading;
  readonly call: PluginCall;
}

export interface PartPlansDeps {
  readonly database: NetworkDatabase;
  readonly parts: PluginAttachmentStore;
  readonly addressing: Addressing;
  readonly policies: PodPolicies;
}

/** Returns the operations; they run in an act that holds the lock. */
export function createPartPlans({
  database,
  parts: pluginAttachments,
  addressing,
  policies,
}: PartPlansDeps): PartPlans {
  const takenMacs = createTakenMacs(database);

  const lease = (reading: Reading, call: PluginCall, host: Host, hostInterface = linkOf(call)): Leased => {
    const attachment = pluginAttachments.attachment(host.namespaceId, call.key, hostInterface);
    const given = addressing.lease(reading.source, {
      host,
      key: call.key,
      holder: { attachment, part: reading.type },
    });
    return { attachment, given };
  };

  return {
    leaseOnly: (reading, call, host) =>
      database.transaction(() => {
        const { attachment, given } = lease(reading, call, host);
        const result = addressResult(given);
        pluginAttachments.setState(
          pluginAttachments.begin({
            attachment,
            key: call.key,
            type: reading.type,
            netns: call.netns,
            resources: [],
            result,
          }),
          'ready',
        );
        return result;
      }),
    plan({ plugin, reading, call }, host, kernel, delegated) {
      const hostInterface = linkOf(call);
      return database.transaction(() => {
        const { attachment, given: leased } = lease(reading, call, host, hostInterface);
        const given = delegated === undefined ? leased : addressing.delegated(delegated);
        const pod = given.addresses.length === 0 ? undefined : policies.podOf(call, host);
        const input = {
          ...planInput(call, host, given, hostInterface),
          ...(pod !== undefined && { bound: true }),
        };
        // `observe` only reads the kernel, and only what no other act can change meanwhile, because the lock
        // is held.
        const observed = plugin.observe?.(reading.config, kernel, input);
        const { resources, result } = plugin.plan(
          reading.config,
          observed === undefined ? input : { ...input, observed },
        );
        const mac = chosenMac(reading.config, result, call.prevResult);
        if (mac !== undefined)
          takenMacs.refuse(mac, {
            isPod: ownerOfCall(call) !== otherOwners.cni,
            namespaceId: host.namespaceId,
            key: call.key,
            route: host.route,
            result,
          });
        addressing.takeHostPorts(host, resources, { attachment, part: reading.type });
        const begun = pluginAttachments.begin({
          attachment,
          key: call.key,
          type: reading.type,
          netns: call.netns,
          resources,
          result,
        });
        if (pod !== undefined) policies.begin(begun, pod);
        return begun;
      });
    },
    planRest(pluginAttachment, { plugin, reading: { config }, call }, host, kernel) {
      const { routes, dns } = pluginAttachment.result;
      const input = { ...planInput(call, host, { addresses: [], routes, dns }), joined: call.joined };
      const observed = plugin.observe?.(config, kernel, input);
      const { resources, result } = plugin.plan(config, { ...input, observed });
      return database.transaction(() => {
        pluginAttachments.setState(pluginAttachment, 'making');
        return pluginAttachments.describe(pluginAttachment, resources, result);
      });
    },
  };
}

interface Leased {
  readonly attachment: number;
  readonly given: ReturnType<Addressing['lease']>;
}
