import { ipBytes, parseIp } from '../../spec/address.ts';
import { isRefusal } from '../../netlink/kernel-failure.ts';
import { findLink, listSettings } from '../../netlink/link-settings.ts';
import { addElements, concatenated, deleteElements, getElement, getTable, interfaceKey, transact } from '../../netlink/nftables.ts';
import type { Element, Table } from '../../netlink/nftables.ts';
import type { NetlinkSocket } from '../../netlink/socket.ts';
import type { Resource, ResourceKernel, ResourceKind } from '../contract.ts';
import { acceptedChain, adminChains, bridged, createBridged, createRouted, fromChain, routed, sets, toChain } from './rules.ts';

/** What is forwarded to and from the pod. */
export interface ForwardPolicy extends Resource {
  readonly kind: 'forward-policy';
  readonly addresses: readonly string[];
  readonly adminChain: string;
  /** Nothing passes between bridges that are separated; `isolated`: nor between the pods of one. */
  readonly separation?: { readonly bridge: string; readonly isolated: boolean; readonly ports: readonly string[] };
}

interface Entry {
  readonly table: Table;
  readonly set: string;
  readonly element: Element;
  /** For CHECK. */
  readonly what: string;
  /** Shared by all pods of the bridge. */
  readonly ofBridge: boolean;
}

function entriesOf(resource: ForwardPolicy): Entry[] {
  const pods = resource.addresses.flatMap((text): Entry[] => {
    const address = parseIp(text);
    if (address === undefined) return [];
    const key = ipBytes(address);
    const { family } = address;
    const what = `rule for ${text}`;
    return [
      {
        table: routed,
        set: family === 4 ? sets.from4 : sets.from6,
        element: { key, value: { goto: fromChain(resource.adminChain) } },
        what,
        ofBridge: false,
      },
      {
        table: routed,
        set: family === 4 ? sets.to4 : sets.to6,
        element: { key, value: { goto: toChain(resource.adminChain) } },
        what,
        ofBridge: false,
      },
    ];
  });
  const { separation } = resource;
  if (separation === undefined) return pods;
  const name = interfaceKey(separation.bridge);
  return [
    { table: routed, set: sets.bridges, element: { key: name }, what: `separation of ${separation.bridge}`, ofBridge: true },
    {
      table: routed,
      set: sets.pairs,
      element: { key: concatenated(name, name), value: separation.isolated ? 'drop' : { goto: acceptedChain } },
      what: `rule inside ${separation.bridge}`,
      ofBridge: true,
    },
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

export const forwardPolicyKind: ResourceKind<ForwardPolicy> = {
  kind: 'forward-policy',
  ensure(resource, kernel) {
    const { filter } = kernel.host;
    const entries = entriesOf(resource);
    const tables = [...new Set([routed, ...entries.map(({ table }) => table)])];
    const missing = tables.filter((table) => !stands(filter, table));
    // What another process that is gone left under a key is replaced: an address is one pod's at a time.
    for (const { table, set, element } of entries) if (!missing.includes(table)) take(filter, table, set, element);
    transact(filter, [
      ...(missing.includes(routed) ? createRouted() : []),
      ...(missing.includes(bridged) ? createBridged() : []),
      ...adminChains(resource.adminChain),
      ...entries.flatMap(({ table, set, element }) => addElements(table, set, [element])),
    ]);
    if (missing.length > 0) kernel.foundGone?.();
  },
  differences(resource, kernel) {
    return entriesOf(resource).flatMap(({ table, set, element, what }) => {
      try {
        kernel.host.filter.ask(getElement(table, set, element));
        return [];
      } catch (thrown) {
        if (isRefusal(thrown, 'ENOENT')) return [`nf_tables has no ${what}`];
        throw thrown;
      }
    });
  },
  remove(resource, kernel) {
    const lastOfBridge = resource.separation !== undefined && isLast(resource.separation, kernel);
    for (const { table, set, element, ofBridge } of entriesOf(resource))
      if (!ofBridge || lastOfBridge) take(kernel.host.filter, table, set, element);
  },
};

/** The bridge is gone, or has no port but the pod's. */
function isLast({ bridge, ports }: NonNullable<ForwardPolicy['separation']>, kernel: ResourceKernel): boolean {
  const { route } = kernel.host;
  const index = findLink(route, { name: bridge })?.index;
  return (
    index === undefined ||
    listSettings(route).every(({ master, name, kind }) => master !== index || kind === 'vxlan' || ports.includes(name))
  );
}

function stands(filter: NetlinkSocket, table: Table): boolean {
  try {
    return filter.ask(getTable(table)).length > 0;
  } catch (thrown) {
    if (isRefusal(thrown, 'ENOENT')) return false;
    throw thrown;
  }
}

function take(filter: NetlinkSocket, table: Table, set: string, { key }: Element): void {
  try {
    transact(filter, deleteElements(table, set, [{ key }]));
  } catch (thrown) {
    if (!isRefusal(thrown, 'ENOENT')) throw thrown;
  }
}
