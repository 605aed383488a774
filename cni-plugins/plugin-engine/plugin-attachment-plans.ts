import type { CniResult } from '../spec/result.ts';
import type { PlanInput, Plugin, ResourceKernel } from '../plugins/contract/contract.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import { refuseSmallMtu } from '../spec/ipv6-mtu.ts';
import { otherOwners } from '../spec/service-rules.ts';
import type { Addressing } from './addressing.ts';
import type { Acquired } from './later-source.ts';
import { idOfPod } from '../namespaces/caller.ts';
import type { Host } from '../namespaces/caller.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { ownerOfCall } from '../database/memberships.ts';
import type {
  NewPluginAttachment,
  PluginAttachment,
  PluginAttachmentStore,
} from '../database/plugin-attachments.ts';
import { addressResult, chosenMac, linkOf, planInput } from './plugin-call-values.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import type { PodPolicies } from './pod-policies.ts';
import type { Reading } from '../networks/plugin-configuration.ts';
import { createIpvlanModes } from './ipvlan-modes.ts';
import { createTakenMacs } from './mac-conflicts.ts';
import { createSharedAddresses } from './shared-addresses.ts';

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
  /** Plans the links alone, for an address plugin that needs them. They are not bound by link rules yet. */
  planLinks(adding: Adding, host: Host, kernel: ResourceKernel): PlannedLinks;
  /**
   * Plans the same links with the addresses that were assigned meanwhile.
   */
  planAddresses(links: PlannedLinks, adding: Adding, host: Host, acquired: Acquired): PluginAttachment;
  /** Records an address plugin that is called alone, before it has addresses. */
  beginAlone(reading: Reading, call: PluginCall, host: Host): PluginAttachment;
  /** Records the addresses that were assigned to it meanwhile. */
  completeAlone(part: PluginAttachment, acquired: Acquired): CniResult;
  /** Plans the second half of an ADD, whose first half leased the addresses. */
  planRest(
    pluginAttachment: PluginAttachment,
    adding: Adding,
    host: Host,
    kernel: ResourceKernel,
  ): PluginAttachment;
}

/** Links whose addresses follow, with what their plugin observed. */
export interface PlannedLinks {
  readonly part: PluginAttachment;
  readonly observed: unknown;
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
  const lease = (reading: Reading, call: PluginCall, host: Host, hostInterface = linkOf(call)): Leased => {
    const attachment = pluginAttachments.attachment(host.namespaceId, call.key, hostInterface);
    const given = addressing.lease(reading.source, {
      host,
      key: call.key,
      holder: { attachment, part: reading.type },
    });
    return { attachment, given };
  };

  const refuseConflicts = refusingConflicts(database);
  const sharedAddresses = createSharedAddresses(database);

  return {
    ...createLaterPlans({ database, parts: pluginAttachments, policies, refuseConflicts }),
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
        const planned = plugin.plan(reading.config, observed === undefined ? input : { ...input, observed });
        refuseConflicts({ plugin, reading, call }, host, planned);
        if (reading.source.from !== 'ranges')
          sharedAddresses.refuseOther({ attachment, key: call.key }, planned.resources);
        addressing.takeHostPorts(host, planned.resources, { attachment, part: reading.type });
        const begun = pluginAttachments.begin(recordOf(attachment, { reading, call }, kernel, planned));
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

const idIn = ({ pod }: ResourceKernel): Pick<PluginAttachment, 'netnsId'> =>
  pod === undefined ? {} : { netnsId: idOfPod(pod) };

type Planned = ReturnType<Plugin['plan']>;

/** Returns the record with which an attachment of a plugin begins. */
const recordOf = (
  attachment: number,
  { reading, call }: Pick<Adding, 'reading' | 'call'>,
  kernel: ResourceKernel,
  { resources, result }: Planned,
): NewPluginAttachment => ({
  attachment,
  key: call.key,
  type: reading.type,
  netns: call.netns,
  ...idIn(kernel),
  resources,
  result,
});

/** Refuses addresses that the pod's interface cannot have. */
function refuseMtu({ interface: name }: AttachmentKey, { interfaces, ips }: CniResult): void {
  const at = interfaces.findIndex((each) => each.name === name && (each.sandbox ?? '') !== '');
  const own = ips.filter(({ interface: index }) => index === at);
  refuseSmallMtu(
    name,
    interfaces[at]?.mtu,
    own.map(({ address }) => address),
  );
}

/** Refuses what would change the links of other pods, and addresses that the interface cannot have. */
type RefuseConflicts = (adding: Adding, host: Host, planned: Planned) => void;

function refusingConflicts(database: NetworkDatabase): RefuseConflicts {
  const takenMacs = createTakenMacs(database);
  const ipvlanModes = createIpvlanModes(database);
  return ({ reading, call }, host, { resources, result }) => {
    refuseMtu(call.key, result);
    ipvlanModes.refuse(resources, { namespaceId: host.namespaceId, key: call.key });
    const mac = chosenMac(reading.config, result, call.prevResult);
    if (mac === undefined) return;
    takenMacs.refuse(mac, {
      isPod: ownerOfCall(call) !== otherOwners.cni,
      namespaceId: host.namespaceId,
      key: call.key,
      route: host.route,
      result,
    });
  };
}

interface LaterPlansDeps extends Omit<PartPlansDeps, 'addressing'> {
  readonly refuseConflicts: RefuseConflicts;
}

/** Plans of an ADD whose address plugin needs the interface. */
function createLaterPlans({
  database,
  parts: pluginAttachments,
  policies,
  refuseConflicts,
}: LaterPlansDeps): Pick<PartPlans, 'planLinks' | 'planAddresses' | 'beginAlone' | 'completeAlone'> {
  const sharedAddresses = createSharedAddresses(database);
  return {
    planLinks({ plugin, reading, call }, host, kernel) {
      const hostInterface = linkOf(call);
      return database.transaction(() => {
        const attachment = pluginAttachments.attachment(host.namespaceId, call.key, hostInterface);
        // Policies that cannot be enforced are reported before anything is created.
        policies.podOf(call, host);
        const nothing = { addresses: [], routes: [], dns: {} };
        const { bound: _unbound, ...rest } = planInput(call, host, nothing, hostInterface);
        const input: PlanInput = { ...rest, addressesLater: true };
        const observed = plugin.observe?.(reading.config, kernel, input);
        const planned = plugin.plan(reading.config, { ...input, observed });
        refuseConflicts({ plugin, reading, call }, host, planned);
        const part = pluginAttachments.begin(recordOf(attachment, { reading, call }, kernel, planned));
        return { part, observed };
      });
    },
    planAddresses({ part, observed }, { plugin, reading, call }, host, { given, record }) {
      const pod = policies.podOf(call, host);
      const input: PlanInput = {
        ...planInput(call, host, given),
        ...(pod !== undefined && { bound: true }),
        addressesLater: true,
        observed,
      };
      const { resources, result } = plugin.plan(reading.config, input);
      refuseMtu(call.key, result);
      return database.transaction(() => {
        sharedAddresses.refuse(part, resources);
        pluginAttachments.setState(part, 'making');
        const described = pluginAttachments.describe(part, resources, result);
        if (pod !== undefined) policies.begin(described, pod);
        record?.(described);
        return described;
      });
    },
    beginAlone: ({ type }, call, host) =>
      database.transaction(() => {
        const { key, netns } = call;
        const attachment = pluginAttachments.attachment(host.namespaceId, key, linkOf(call));
        const result: CniResult = { interfaces: [], ips: [], routes: [], dns: {} };
        const part = pluginAttachments.begin({ attachment, key, type, netns, resources: [], result });
        pluginAttachments.setState(part, 'ready');
        return part;
      }),
    completeAlone: (part, { given, record }) =>
      database.transaction(() => {
        const result = addressResult(given);
        record?.(pluginAttachments.describe(part, [], result));
        return result;
      }),
  };
}

interface Leased {
  readonly attachment: number;
  readonly given: ReturnType<Addressing['lease']>;
}
