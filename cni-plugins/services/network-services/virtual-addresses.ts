import { parseJson } from '../../../base/json/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import { leasingTypes } from '../../networks/addresses.ts';
import { openHosts } from '../../namespaces/caller.ts';
import { createEndedNamespaces } from '../../database/ended-namespaces.ts';
import { virtualHolder } from '../../database/memberships.ts';
import { createPluginAttachmentStore } from '../../database/plugin-attachments.ts';
import { refusingPolicies } from '../../plugin-engine/pod-policies.ts';
import { createPluginCore } from '../../plugin-engine/plugin-engine.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import { bareType } from '../../calls/plugin-type.ts';
import { attempt, PortcullisError } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { Member, NetworkService, Spanned } from './members.ts';

/**
 * Virtual addresses of services, leased from the network's own IPAM plugin like any member's address. No
 * other attachment gets an address while the service exists. Addresses are stored before they are leased, and
 * until they are given back. Synchronous except for the plugin, for a Worker.
 */
export interface VirtualAddresses {
  /** Returns the addresses in force, including those of services that have no member any more. */
  standing(): readonly VirtualService[];
  /**
   * Returns the same addresses for as long as the service has a member.
   * @throws NETWORK_SERVICE_ADDRESS_UNKNOWN · what leasing throws
   */
  ensure(service: NetworkService): Promise<readonly string[]>;
  /**
   * Takes over the addresses of a service over hosts that the hosts agreed on.
   * @param silence removes addresses that the service no longer has from the links of this host
   */
  adopt(
    service: NetworkService & { readonly spanned: Spanned },
    silence: (former: readonly string[]) => void,
  ): Promise<readonly string[]>;
  /** Gives back the addresses of a service. */
  release(service: VirtualService): Promise<void>;
  close(): void;
}

export interface VirtualService {
  readonly network: string;
  readonly name: string;
  /** Empty if the process was killed before the service had an address. */
  readonly addresses: readonly string[];
  /** The IPAM plugin that leases the addresses. Absent: the members chose them. */
  readonly ipam?: LeasingPlugin;
}

type LeasingPlugin = { readonly type: string };

type Document = Pick<VirtualService, 'addresses' | 'ipam'>;

export function openVirtualAddresses(
  database: NetworkDatabase,
  log: Pick<Logger, 'info' | 'warn'>,
): VirtualAddresses & { readonly namespaceId: string } {
  const { db } = database;
  const hosts = openHosts();
  const { namespaceId } = hosts.own;
  const plugins = createPluginCore({
    database,
    hosts,
    namespaceIds: createEndedNamespaces(database, hosts.own.route, namespaceId),
    policies: refusingPolicies(database),
    keepsLeases: false,
    log,
  });
  const pluginAttachments = createPluginAttachmentStore(database);
  const select = db.prepare(
    'SELECT network, service, document FROM network_service WHERE realm = ? ORDER BY network, service',
  );
  const selectOne = db.prepare(
    'SELECT document FROM network_service WHERE realm = ? AND network = ? AND service = ?',
  );
  const put = db.prepare(
    `INSERT INTO network_service (realm, network, service, document, owner) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (realm, network, service) DO UPDATE SET document = excluded.document, owner = excluded.owner`,
  );
  const remove = db.prepare('DELETE FROM network_service WHERE realm = ? AND network = ? AND service = ?');

  const call = (
    verb: 'add' | 'del',
    network: string,
    name: string,
    ipam: LeasingPlugin,
    ips: readonly string[],
  ): PluginCall => ({
    verb,
    type: ipam.type,
    caller: {},
    key: keyOf(network, name),
    netns: '',
    args: {},
    path: [],
    config: JSON.stringify({
      cniVersion: '1.1.0',
      name: network,
      type: ipam.type,
      ipam,
      ...(ips.length > 0 && { runtimeConfig: { ips } }),
    }),
  });

  const leased = async (
    { network, name, members }: NetworkService,
    ipam: LeasingPlugin,
  ): Promise<readonly string[]> => {
    // The process was killed between the lease and the record of it.
    const held = pluginAttachments.part(namespaceId, keyOf(network, name), bareType(ipam.type));
    const result = held?.result ?? (await plugins.call(call('add', network, name, ipam, wantedOf(members))));
    return (result?.ips ?? []).map(({ address }) => address.replace(/\/\d+$/u, ''));
  };

  const documentOf = (network: string, name: string): Document | undefined => {
    const row = selectOne.get(namespaceId, network, name) as { document: string } | undefined;
    return row && documentIn(row.document);
  };
  const write = (network: string, name: string, document: Document, owner: string): void =>
    void put.run(namespaceId, network, name, JSON.stringify(document), owner);
  const release: VirtualAddresses['release'] = async ({ network, name, ipam }) => {
    if (ipam !== undefined) await plugins.call(call('del', network, name, ipam, []));
    remove.run(namespaceId, network, name);
  };

  return {
    namespaceId,
    standing: () =>
      (select.all(namespaceId) as unknown as { network: string; service: string; document: string }[]).map(
        ({ network, service, document }) => ({
          network,
          name: service,
          ...(documentIn(document) ?? { addresses: [] }),
        }),
      ),
    async ensure(service) {
      const { network, name, members } = service;
      const known = documentOf(network, name);
      if (known !== undefined && known.addresses.length > 0) return known.addresses;
      const ipam = known?.ipam ?? leasingPlugin(members);
      if (ipam === undefined && wantedOf(members).length === 0) throw addressUnknown(network, name);
      const intent = ipam === undefined ? {} : { ipam };
      const owner = members[0].owner ?? '';
      if (known === undefined) write(network, name, { ...intent, addresses: [] }, owner);
      const addresses = ipam === undefined ? wantedOf(members) : await leased(service, ipam);
      write(network, name, { ...intent, addresses }, owner);
      return addresses;
    },
    // The hosts agree on the owner: none is stored here.
    async adopt({ network, name, spanned: { addresses } }, silence) {
      const known = documentOf(network, name);
      if (known !== undefined && known.ipam === undefined && known.addresses.join() === addresses.join())
        return addresses;
      const former = (known?.addresses ?? []).filter((address) => !addresses.includes(address));
      if (former.length > 0) silence(former);
      // From the time when the network belonged to this host alone.
      if (known?.ipam !== undefined) await release({ network, name, ...known });
      write(network, name, { addresses }, '');
      return addresses;
    },
    release,
    close: () => hosts.close(),
  };
}

/** Returns undefined for a damaged text. The lease of the service, in another table, has its addresses. */
function documentIn(text: string): Document | undefined {
  const value = attempt(() => parseJson(text));
  return Object(value) === value ? (value as Document) : undefined;
}

const keyOf = (network: string, name: string): PluginCall['key'] => ({ network, ...virtualHolder(name) });

const wantedOf = (members: readonly Member[]): readonly string[] =>
  members.find(({ virtualIPs }) => virtualIPs.length > 0)?.virtualIPs ?? [];

/**
 * Returns a plugin whose leases are in this database. Other plugins have no address without an attachment.
 */
function leasingPlugin(members: readonly Member[]): LeasingPlugin | undefined {
  return members
    .map(({ ipam }) => ipam)
    .filter(
      (ipam): ipam is LeasingPlugin =>
        typeof ipam === 'object' && ipam !== null && 'type' in ipam && typeof ipam.type === 'string',
    )
    .find(({ type }) => leasingTypes.includes(bareType(type)));
}

function addressUnknown(network: string, name: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_ADDRESS_UNKNOWN',
    kind: 'precondition',
    attempted: 'give a virtual address to the service',
    on: `${network}/${name}`,
    why: 'the addresses of the network do not come from ranges of its configuration, so no address can be leased for a service',
    fix: 'set addresses that no other container gets (virtualIPs), or use the mode dnsrr',
  });
}
