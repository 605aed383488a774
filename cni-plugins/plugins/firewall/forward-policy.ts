import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import {
  addElements,
  concatenated,
  deleteElements,
  findLink,
  getElement,
  getTable,
  interfaceKey,
  isRefusal,
  listSettings,
  tolerating,
  transact,
} from '../../../base/netlink/index.ts';
import type { Element, Table, NetlinkSocket } from '../../../base/netlink/index.ts';
import { lackedRules, missingRules } from '../../constant-rules/constant-rules.ts';
import type { Attached, Resource, ResourceKernel, ResourceType } from '../contract/contract.ts';
import {
  acceptedChain,
  adminChains,
  bridged,
  confined,
  constantRules,
  createBridged,
  createConfined,
  createRouted,
  fromChain,
  routed,
  sets,
  toChain,
} from './rules.ts';

/** Policy for packets that are forwarded to and from the pod. */
export interface ForwardPolicy extends Resource {
  readonly kind: 'forward-policy';
  readonly addresses: readonly string[];
  readonly adminChain: string;
  /** No traffic passes between isolated bridges. `isolated`: nor between the pods of one bridge. */
  readonly separation?: {
    readonly bridge: string;
    readonly isolated: boolean;
    readonly ports: readonly string[];
    /** No traffic is routed into the bridge or out of it. */
    readonly internal?: boolean;
  };
}

interface Entry {
  readonly table: Table;
  readonly set: string;
  readonly element: Element;
  /** Description for CHECK. */
  readonly what: string;
  /** Whether all pods of the bridge share it. */
  readonly ofBridge: boolean;
}

function entriesOf(resource: ForwardPolicy): Entry[] {
  const pods = resource.addresses.flatMap((text): Entry[] => {
    const address = parseIp(text);
    if (address === undefined) return [];
    const key = ipBytes(address);
    const { family } = address;
    return [
      {
        table: routed,
        set: family === 4 ? sets.from4 : sets.from6,
        element: { key, value: { goto: fromChain(resource.adminChain) } },
        what: `rule for traffic from ${text}`,
        ofBridge: false,
      },
      {
        table: routed,
        set: family === 4 ? sets.to4 : sets.to6,
        element: { key, value: { goto: toChain(resource.adminChain) } },
        what: `rule for traffic to ${text}`,
        ofBridge: false,
      },
    ];
  });
  const { separation } = resource;
  if (separation === undefined) return pods;
  const name = interfaceKey(separation.bridge);
  return [
    {
      table: routed,
      set: sets.bridges,
      element: { key: name },
      what: `separation of ${separation.bridge}`,
      ofBridge: true,
    },
    {
      table: routed,
      set: sets.pairs,
      element: {
        key: concatenated(name, name),
        value: separation.isolated ? 'drop' : { goto: acceptedChain },
      },
      what: `rule inside ${separation.bridge}`,
      ofBridge: true,
    },
    ...(separation.internal === true
      ? [
          {
            table: confined,
            set: sets.internalPairs,
            element: { key: concatenated(name, name), value: 'accept' as const },
            what: `rule inside ${separation.bridge}`,
            ofBridge: true,
          },
          {
            table: confined,
            set: sets.internal,
            element: { key: name },
            what: `confinement of ${separation.bridge}`,
            ofBridge: true,
          },
        ]
      : []),
    ...(separation.isolated
      ? separation.ports.map((port): Entry => ({
          table: bridged,
          set: sets.ports,
          element: { key: interfaceKey(port) },
          what: `isolation of ${port}`,
          ofBridge: false,
        }))
      : []),
    ...pods,
  ];
}

export const forwardPolicyType: ResourceType<ForwardPolicy> = {
  kind: 'forward-policy',
  ensure(resource, kernel) {
    const { filter } = kernel.host;
    const entries = entriesOf(resource);
    const tables = [...new Set([routed, ...entries.map(({ table }) => table)])];
    const missing = tables.filter((table) => !exists(filter, table));
    const made = tables.filter((table) => lackedRules(filter, table) || missing.includes(table));
    const existing = entries.filter(
      ({ table, set, element }) => !missing.includes(table) && holds(filter, table, set, element),
    );
    // When two pods of a bridge differ, the stricter policy stays, whichever came first.
    const kept = existing.filter(({ ofBridge }) => ofBridge && resource.separation?.isolated !== true);
    const replaced = existing.filter((entry) => !kept.includes(entry));
    // One transaction: there is no open moment between the old and the new policy.
    transact(filter, [
      ...(made.includes(routed) ? createRouted() : []),
      ...(made.includes(bridged) ? createBridged() : []),
      ...(made.includes(confined) ? createConfined() : []),
      ...adminChains(resource.adminChain),
      ...replaced.flatMap(({ table, set, element: { key } }) => deleteElements(table, set, [{ key }])),
      ...entries
        .filter((entry) => !kept.includes(entry))
        .flatMap(({ table, set, element }) => addElements(table, set, [element])),
    ]);
    if (missing.length > 0) kernel.foundGone?.();
  },
  differences(resource, kernel) {
    const { filter } = kernel.host;
    const entries = entriesOf(resource);
    const tables = [...new Set([routed, ...entries.map(({ table }) => table)])];
    return [
      ...tables.flatMap((table) => missingRules(filter, table, constantRules(table, resource.adminChain))),
      ...entries
        .filter(({ table, set, element }) => !holds(filter, table, set, element))
        .map(({ what }) => `nf_tables has no ${what}`),
    ];
  },
  remove(resource, kernel, _key, attached) {
    const lastOfBridge = resource.separation !== undefined && isLast(resource.separation, kernel, attached);
    for (const { table, set, element, ofBridge } of entriesOf(resource))
      if (!ofBridge || lastOfBridge) take(kernel.host.filter, table, set, element);
  },
};

/**
 * Returns whether this is the last pod: the bridge is gone, or has only the pod's port and ports of pods
 * whose rules were removed before their link, because two pods may be deleted concurrently.
 */
function isLast(
  { bridge, ports }: NonNullable<ForwardPolicy['separation']>,
  kernel: ResourceKernel,
  attached: Attached,
): boolean {
  const { route } = kernel.host;
  const index = findLink(route, { name: bridge })?.index;
  return (
    index === undefined ||
    listSettings(route).every(
      ({ master, name, kind }) =>
        master !== index ||
        kind === 'vxlan' ||
        ports.includes(name) ||
        attached.has(name, 'firewall') === false,
    )
  );
}

function exists(filter: NetlinkSocket, table: Table): boolean {
  return tolerating(['ENOENT'], () => filter.ask(getTable(table)).length > 0) ?? false;
}

function holds(filter: NetlinkSocket, table: Table, set: string, element: Element): boolean {
  try {
    filter.ask(getElement(table, set, element));
    return true;
  } catch (thrown) {
    if (isRefusal(thrown, 'ENOENT')) return false;
    throw thrown;
  }
}

function take(filter: NetlinkSocket, table: Table, set: string, { key }: Element): void {
  tolerating(['ENOENT'], () => transact(filter, deleteElements(table, set, [{ key }])));
}
