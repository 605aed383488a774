import { parseJson } from '../../base/json/index.ts';
import { attempt, PortcullisError } from '../../base/errors/index.ts';
import { formatIp } from '../../base/addresses/index.ts';
import { readConfigurationJson } from '../spec/json-text.ts';
import { membershipsOn, readMemberships } from '../spec/memberships.ts';
import type { Membership } from '../spec/memberships.ts';
import {
  noServiceRules,
  otherOwners,
  ownerOfPod,
  readServiceRules,
  refuseClosedPorts,
  refuseForeignAddresses,
} from '../spec/service-rules.ts';
import type { ServiceRules } from '../spec/service-rules.ts';
import type { RangeSet } from '../spec/network-config.ts';
import { namesAt } from './call-names.ts';
import type { NetworkDatabase } from './database.ts';
import { isListenedAt } from './host-sockets.ts';
import type { HostEnd } from './host-sockets.ts';
import type { NameHolder, NetworkName } from './endpoint-names.ts';
import type { PluginCall } from '../calls/plugin-call.ts';

/**
 * The services of its network that an attachment is a member of, in the database. Memberships are written
 * with the attachment and removed with it. Every method must be called inside a transaction.
 */
export interface MembershipStore {
  /**
   * Replaces the memberships of the attachment.
   * @param isHeld whether a program of the host has a socket there
   * @throws NETWORK_SERVICE_MODE_DIFFERS · NETWORK_SERVICE_OTHER_NAMESPACE · NETWORK_SERVICE_INGRESS_CLOSED ·
   * NETWORK_SERVICE_VIRTUAL_IP_CLOSED · NETWORK_SERVICES_EXHAUSTED
   */
  put(holder: MemberHolder, joined: Joined, isHeld?: (end: HostEnd) => boolean): void;
  /** Returns the memberships of the attachment. */
  standing(attachment: number): readonly MemberDocument[];
}

/** Without an owner, the attachment belongs to no pod. */
export type MemberHolder = Required<Omit<NameHolder, 'owner'>> & Pick<NameHolder, 'owner'>;

/** The services that one attachment joins. */
export interface Joined {
  /** Rules of the network's own file for its members. Absent: nothing is allowed. */
  readonly rules?: ServiceRules;
  readonly memberships: readonly Membership[];
  /** The addresses of the member, without prefix lengths. */
  readonly addresses: readonly string[];
  /** The IPAM part of the network's configuration, from which virtual addresses are taken as well. */
  readonly ipam: unknown;
}

/** The document that the table stores. */
export interface MemberDocument extends Membership {
  readonly addresses: readonly string[];
  readonly ipam: unknown;
  /** The rules by which its ingress ports were admitted. Absent: it has none. */
  readonly rules?: ServiceRules;
}

/** Returns a row's document, or undefined if its text is damaged: its container is then no member. */
export function memberDocumentIn(text: string): MemberDocument | undefined {
  const value = attempt(() => parseJson(text));
  return Object(value) === value ? (value as MemberDocument) : undefined;
}

export function createMembershipStore({ db }: Pick<NetworkDatabase, 'db'>): MembershipStore {
  const remove = db.prepare('DELETE FROM service_member WHERE attachment = ?');
  const insert = db.prepare(
    'INSERT INTO service_member (attachment, realm, network, service, document, owner) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const selectOwn = db.prepare('SELECT document FROM service_member WHERE attachment = ?');
  const selectOtherOwner = db.prepare(
    `SELECT owner FROM service_member WHERE realm = ?1 AND network = ?2 AND service = ?3 AND owner NOT IN (?4, '') AND attachment <> ?5
     UNION ALL SELECT owner FROM network_service WHERE realm = ?1 AND network = ?2 AND service = ?3 AND owner NOT IN (?4, '')
     UNION ALL SELECT json_extract(document, '$.owner') FROM spanned_service JOIN spanned_network USING (network)
       WHERE realm = ?1 AND network = ?2 AND service = ?3
       AND iif(json_valid(document), json_extract(document, '$.owner') NOT IN (?4, ''), FALSE) LIMIT 1`,
  );
  const countOwned = db.prepare(
    'SELECT count(DISTINCT service) AS count FROM service_member WHERE realm = ? AND network = ? AND owner = ? AND service <> ?',
  );
  const selectOther = db.prepare(
    `SELECT container_id FROM service_member JOIN attachment ON number = attachment
     WHERE service_member.realm = ? AND service_member.network = ? AND service = ? AND attachment <> ?
       AND iif(json_valid(document), json_extract(document, '$.mode') <> ?, FALSE) LIMIT 1`,
  );
  const selectSpanned = db.prepare(
    `SELECT ifnull((SELECT min(host) FROM spanned_member AS member WHERE member.network = ?2 AND member.service = ?3), '') AS host
     FROM spanned_service JOIN spanned_network USING (network)
     WHERE realm = ?1 AND network = ?2 AND service = ?3
       AND iif(json_valid(document), json_extract(document, '$.mode') <> ?4, FALSE)`,
  );
  const existing = (attachment: number | bigint): MemberDocument[] =>
    (selectOwn.all(attachment) as unknown as { document: string }[]).flatMap(
      ({ document }) => memberDocumentIn(document) ?? [],
    );
  return {
    standing: existing,
    put(
      { namespaceId, network, attachment, owner = otherOwners.cni },
      { memberships, addresses, ipam, rules = noServiceRules },
      isHeld = isListenedAt,
    ) {
      const before = existing(attachment).flatMap(({ ingressPorts }) => ingressPorts);
      const had = new Set(before.map(({ protocol, port }) => `${protocol} ${port}`));
      // Ports that the attachment already has were free when it joined. A program that started later is
      // reported, but the attachment keeps its ports.
      refuseClosedPorts(
        rules,
        owner,
        memberships,
        ({ protocol, port }) => !had.has(`${protocol} ${port}`) && isHeld({ protocol, port, hostIp: '' }),
      );
      remove.run(attachment);
      for (const membership of memberships) {
        const { name, mode } = membership;
        if (ipam === undefined) refuseForeignAddresses(rules, membership);
        const isShared = rules.sharedServices.some((shared) => shared === '*' || shared === name);
        const foreign = isShared
          ? undefined
          : (selectOtherOwner.get(namespaceId, network, name, owner, attachment) as
              | { owner: string }
              | undefined);
        if (foreign !== undefined) throw otherNamespace(network, name, owner, foreign.owner);
        const { count } = countOwned.get(namespaceId, network, owner, name) as { count: number };
        if (count >= rules.servicesPerNamespace)
          throw servicesExhausted(network, name, owner, rules.servicesPerNamespace);
        const other = selectOther.get(namespaceId, network, name, attachment, mode) as
          | { container_id: string }
          | undefined;
        if (other !== undefined)
          throw modeDiffers(network, membership, `its member ${other.container_id.slice(0, 64)} has`);
        const spanned = selectSpanned.get(namespaceId, network, name, mode) as { host: string } | undefined;
        if (spanned !== undefined)
          throw modeDiffers(
            network,
            membership,
            spanned.host === '' ? 'other hosts have' : `its members on the host ${spanned.host} have`,
          );
        const admitted = membership.ingressPorts.length > 0 && { rules };
        const document: MemberDocument = { ...membership, addresses, ipam, ...admitted };
        insert.run(attachment, namespaceId, network, name, JSON.stringify(document), owner);
      }
    },
  };
}

/**
 * Returns the names of a member's services that resolve to the member's own address: `tasks.NAME`, and the
 * name itself if there is no virtual address. Pure.
 */
export function memberNames({
  memberships,
  addresses,
}: Pick<Joined, 'addresses'> & {
  readonly memberships: readonly Pick<Membership, 'name' | 'mode' | 'aliases'>[];
}): NetworkName[] {
  return memberships.flatMap(({ name, mode, aliases }) =>
    namesAt(addresses, 'service', [`tasks.${name}`, ...(mode === 'dnsrr' ? [name, ...aliases] : [])]),
  );
}

/**
 * Returns the services that a plugin's call joins (`runtimeConfig.services`, capability `services`). A plugin
 * that changes another plugin's interface joins none.
 * @throws NETWORK_SERVICE_MEMBERSHIP_INVALID
 */
export function membershipsOfCall({ key, config, prevResult }: PluginCall): Omit<Joined, 'addresses'> {
  const none = { memberships: [], ipam: undefined, rules: noServiceRules };
  if (prevResult !== undefined) return none;
  const source = readConfigurationJson(config);
  if ('message' in source) return none;
  const { runtimeConfig, ipam } = source.value as {
    readonly runtimeConfig?: { readonly services?: unknown };
    readonly ipam?: unknown;
  };
  if (runtimeConfig?.services === undefined) return none;
  const memberships = membershipsOn(
    readMemberships(runtimeConfig.services, 'runtimeConfig.services'),
    key.network,
  );
  return {
    memberships,
    ipam,
    rules: rulesOf(source.value as Readonly<Record<string, unknown>>, key.network),
  };
}

/** @param config the configuration of the network's first plugin @throws NETWORK_CONFIG_INVALID */
export function rulesOf(config: Readonly<Record<string, unknown>>, network: string): ServiceRules {
  const rules = readServiceRules(config);
  if (!('problem' in rules)) return rules;
  throw new PortcullisError({
    code: 'NETWORK_CONFIG_INVALID',
    kind: 'invalid',
    attempted: 'read the limits for services of the network',
    on: `${network}: ${rules.field}`,
    why: rules.problem,
    fix: 'correct the configuration of the network: docs/services.md#ingress-ports',
  });
}

/** Returns the owner of the attachment that a plugin is called for. */
export const ownerOfCall = ({ args }: Pick<PluginCall, 'args'>): string => {
  const namespace = args['K8S_POD_NAMESPACE'] ?? '';
  // A caller that passes a name no namespace can have is not a pod.
  return Object.values(otherOwners).some((other) => other === namespace)
    ? otherOwners.cni
    : ownerOfPod(namespace);
};

/** Returns the holder of a service's virtual addresses, in the same form as for a container. */
export const virtualHolder = (
  service: string,
): { readonly containerId: string; readonly interface: string } => ({
  containerId: `service.${service}`,
  interface: 'vip',
});

/** Returns whether an attachment is such a holder and not a container. */
export const isVirtualHolder = (containerId: string, name: string): boolean =>
  name === 'vip' && containerId.startsWith('service.');

/** Returns a network's ranges as the configuration of our IPAM plugin. */
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

function otherNamespace(network: string, name: string, owner: string, other: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_OTHER_NAMESPACE',
    kind: 'denied',
    attempted: `join the service ${name} of the network ${network}`,
    on: `namespace ${owner}`,
    why: `the service belongs to ${other}, the namespace of its first member`,
    fix: "use another name for the service; if its members should come from several namespaces, name it in sharedServices of the network's file",
    details: { service: name, network },
  });
}

function servicesExhausted(network: string, name: string, owner: string, most: number): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICES_EXHAUSTED',
    kind: 'exhausted',
    attempted: `join the service ${name} of the network ${network}`,
    on: `namespace ${owner}`,
    why: `the namespace has ${most} services of this network, which is its limit`,
    fix: "end services that are not needed, or raise servicesPerNamespace of the network's file",
    details: { network, most },
  });
}

/** @param who the subject of the sentence, with its verb */
function modeDiffers(network: string, { name, mode }: Membership, who: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_MODE_DIFFERS',
    kind: 'precondition',
    attempted: `join the service ${name} of the network ${network}`,
    on: `mode ${mode}`,
    why: `${who} the other mode: a name leads to one virtual address or to all members, not to both`,
    fix: 'join in the same mode, or wait until the other members have left',
    details: { service: name, network },
  });
}
