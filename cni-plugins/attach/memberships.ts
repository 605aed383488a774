import { PortcullisError } from '../../base/errors/index.ts';
import { formatIp } from '../spec/address.ts';
import { readConfigurationJson } from '../spec/json-text.ts';
import { membershipsOn, readMemberships } from '../spec/memberships.ts';
import type { Membership } from '../spec/memberships.ts';
import type { RangeSet } from '../spec/network-config.ts';
import { namesAt } from './call-names.ts';
import type { NetworkDatabase } from './database.ts';
import type { NameHolder, NetworkName } from './names.ts';
import type { PluginCall } from './plugin-call.ts';

/**
 * Which services of its network an attachment is a member of, in the database: written with the attachment and gone with it. Every method runs inside
 * the caller's transaction.
 */
export interface MembershipStore {
  /** In place of what the attachment had. @throws NETWORK_SERVICE_MODE_DIFFERS */
  put(holder: Required<NameHolder>, joined: Joined): void;
}

/** What one attachment joins. */
export interface Joined {
  readonly memberships: readonly Membership[];
  /** Of the member, without prefix lengths. */
  readonly addresses: readonly string[];
  /** The address plugin's part of the network's configuration, where virtual addresses come from as well. */
  readonly ipam: unknown;
}

/** As the table has it. */
export interface MemberDocument extends Membership {
  readonly addresses: readonly string[];
  readonly ipam: unknown;
}

export function createMembershipStore({ db }: Pick<NetworkDatabase, 'db'>): MembershipStore {
  const remove = db.prepare('DELETE FROM service_member WHERE attachment = ?');
  const insert = db.prepare('INSERT INTO service_member (attachment, realm, network, service, document) VALUES (?, ?, ?, ?, ?)');
  const selectOther = db.prepare(
    `SELECT container_id FROM service_member JOIN attachment ON number = attachment
     WHERE service_member.realm = ? AND service_member.network = ? AND service = ? AND attachment <> ? AND json_extract(document, '$.mode') <> ? LIMIT 1`,
  );
  const selectSpanned = db.prepare(
    `SELECT ifnull((SELECT min(host) FROM spanned_member AS member WHERE member.network = ?2 AND member.service = ?3), '') AS host
     FROM spanned_service JOIN spanned_network USING (network)
     WHERE realm = ?1 AND network = ?2 AND service = ?3 AND json_extract(document, '$.mode') <> ?4`,
  );
  return {
    put({ realm, network, attachment }, { memberships, addresses, ipam }) {
      remove.run(attachment);
      for (const membership of memberships) {
        const { name, mode } = membership;
        const other = selectOther.get(realm, network, name, attachment, mode) as { container_id: string } | undefined;
        if (other !== undefined) throw modeDiffers(network, membership, `its member ${other.container_id.slice(0, 64)} has`);
        const spanned = selectSpanned.get(realm, network, name, mode) as { host: string } | undefined;
        if (spanned !== undefined)
          throw modeDiffers(network, membership, spanned.host === '' ? 'other hosts have' : `its members on the host ${spanned.host} have`);
        insert.run(attachment, realm, network, name, JSON.stringify({ ...membership, addresses, ipam } satisfies MemberDocument));
      }
    },
  };
}

/** What a member's services are called where its own address answers: `tasks.NAME`, and the name itself where there is no virtual address. Pure. */
export function memberNames({
  memberships,
  addresses,
}: Pick<Joined, 'addresses'> & { readonly memberships: readonly Pick<Membership, 'name' | 'mode' | 'aliases'>[] }): NetworkName[] {
  return memberships.flatMap(({ name, mode, aliases }) =>
    namesAt(addresses, 'service', [`tasks.${name}`, ...(mode === 'dnsrr' ? [name, ...aliases] : [])]),
  );
}

/**
 * The services that a plugin's call joins (`runtimeConfig.services`, capability `services`). A plugin that changes what another one made joins none.
 * @throws NETWORK_SERVICE_MEMBERSHIP_INVALID
 */
export function membershipsOfCall({ key, config, prevResult }: PluginCall): Omit<Joined, 'addresses'> {
  const none = { memberships: [], ipam: undefined };
  if (prevResult !== undefined) return none;
  const source = readConfigurationJson(config);
  if ('message' in source) return none;
  const { runtimeConfig, ipam } = source.value as { readonly runtimeConfig?: { readonly services?: unknown }; readonly ipam?: unknown };
  if (runtimeConfig?.services === undefined) return none;
  return { memberships: membershipsOn(readMemberships(runtimeConfig.services, 'runtimeConfig.services'), key.network), ipam };
}

/** In whose name the virtual addresses of a service are leased, as those of a container are. */
export const virtualHolder = (service: string): { readonly containerId: string; readonly interface: string } => ({
  containerId: `service.${service}`,
  interface: 'vip',
});

/** Whether an attachment is no container but such a holder. */
export const isVirtualHolder = (containerId: string, name: string): boolean => name === 'vip' && containerId.startsWith('service.');

/** A network's ranges as the configuration of our address plugin. */
export const ipamOf = (rangeSets: readonly RangeSet[]): object => ({
  type: 'portcullis-ipam',
  ranges: rangeSets.map((set) =>
    set.map(({ subnet, start, end, gateway }) => ({
      subnet: `${formatIp(subnet.address)}/${subnet.length}`,
      rangeStart: formatIp(start),
      rangeEnd: formatIp(end),
      gateway: formatIp(gateway),
    })),
  ),
});

/** @param who with the verb */
function modeDiffers(network: string, { name, mode }: Membership, who: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_MODE_DIFFERS',
    kind: 'precondition',
    attempted: `join the service ${name} of the network ${network}`,
    on: `mode ${mode}`,
    why: `${who} the other mode: a name leads to one virtual address or to all members, not to both`,
    fix: 'join in the same mode, or when the other members have left',
    details: { service: name, network },
  });
}
