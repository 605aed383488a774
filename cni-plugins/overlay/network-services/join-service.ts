import { setTimeout as pause } from 'node:timers/promises';
import { whyClosed } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import type { Member as HostMember } from '../ownership/membership.ts';
import { encode } from '../records/records.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { chooseAddresses, subnetWith } from './addresses.ts';
import { findService, sayService, withdraw } from './claims.ts';
import { fittingMembers, ownerOf, published } from './fitting-members.ts';
import type { LocalMember } from './fitting-members.ts';
import type { Merged } from './merged.ts';
import { addressHolder, portText } from '../records/service-records.ts';
import type { VirtualRecord } from '../records/service-records.ts';

/** Writes to etcd that members on this host join a service. */

export interface JoinDeps {
  readonly member: HostMember;
  readonly networks: readonly OverlayNetwork[];
  readonly merged: Merged;
  readonly rules: ServiceRules;
  /** Removes the keys that this host wrote about a service, when no member may join it. */
  readonly leaveUnfit: (service: string) => Promise<void>;
}

/** The service that this host joined. */
export interface Joined {
  /** Its {@link VirtualRecord}, as JSON. */
  readonly record: string;
  /** Ingress ports: `tcp-30080`. */
  readonly ports: readonly string[];
}

export interface JoinOutcome {
  /** Why requests of members are refused, each with its code. */
  readonly refusals: readonly string[];
  /** Absent when no member joined. */
  readonly joined?: Joined;
}

/** Number of attempts to write a service that another host keeps changing. */
const attempts = 20;

/**
 * Writes the members that fit the service. The first one defines the mode of a new service.
 * @param local members on this host @throws OVERLAY_ETCD_UNREACHABLE · the errors of `chooseAddresses`
 */
export async function joinService(
  deps: JoinDeps,
  service: string,
  local: readonly LocalMember[],
  lease: number,
): Promise<JoinOutcome> {
  const { member, networks, merged, rules, leaveUnfit } = deps;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    if (attempt > 0) await pause(Math.random() * 100);
    const existing = findService(member, service);
    const { mode, owner, members, refusals } = fittingMembers(service, local, existing, {
      rules,
      others: merged,
    });
    if (members.length === 0) {
      await leaveUnfit(service);
      return { refusals };
    }
    if (existing === undefined && merged.countOf(owner, service) >= rules.servicesPerNamespace)
      return {
        refusals: [
          `NETWORK_SERVICES_EXHAUSTED: the namespace ${owner} has ${rules.servicesPerNamespace} services of this network`,
        ],
      };
    // A port that this host does not open to the members is not claimed: services of hosts that open it may
    // have it.
    const open = members.flatMap((each) =>
      each.ingressPorts.filter((port) => whyClosed(rules, ownerOf(each), port) === undefined),
    );
    const ports = [...new Set(open.map(portText))].toSorted();
    const record = existing?.record ?? {
      mode,
      owner,
      addresses: mode === 'vip' ? choose(deps, service, members) : [],
    };
    const saying = { members: members.map(published), ingressPorts: ports, lease };
    const revision = await sayService(member, networks, service, record, {
      standing: existing,
      said: saying,
    });
    if (revision === undefined) continue;
    await member.view.reached(revision);
    // Another host wrote first: the next attempt joins its service.
    if (JSON.stringify(findService(member, service)?.record) !== JSON.stringify(record)) continue;
    if (!(await keepAddresses(deps, service, record))) continue;
    return {
      refusals: [...refusals, ...(await keepPorts(deps, service, ports))],
      joined: { record: JSON.stringify(record), ports },
    };
  }
  return { refusals: [`it was changed by other hosts during each of ${attempts} attempts to join it`] };
}

/** Returns whether etcd still has what this host joined. */
export function isJoined(
  merged: Pick<Merged, 'service' | 'portHolder'>,
  service: string,
  joined: Joined | undefined,
): boolean {
  const found = merged.service(service);
  if (joined === undefined || found === undefined) return false;
  const { mode, owner, addresses } = found;
  return (
    joined.record === JSON.stringify({ mode, ...(owner !== undefined && { owner }), addresses }) &&
    joined.ports.every((port) => merged.portHolder(port) !== undefined)
  );
}

function choose(
  { member, networks, merged }: JoinDeps,
  service: string,
  fitting: readonly LocalMember[],
): string[] {
  const former = merged.service(service)?.addresses ?? [];
  const wanted = fitting.find(({ virtualIPs }) => virtualIPs.length > 0)?.virtualIPs ?? [];
  return chooseAddresses(member.view, networks, service, { wanted, former });
}

/** @returns false when another service or a host was first; then this host's claims on it are withdrawn */
async function keepAddresses(
  { member, networks }: JoinDeps,
  service: string,
  record: VirtualRecord,
): Promise<boolean> {
  const { view, keys } = member;
  const isOurs = (address: string): boolean =>
    view.addressHolder(address) === service &&
    view.subnetHolder(subnetWith(networks, address) ?? '') === addressHolder;
  if (record.addresses.every(isOurs)) return true;
  const own = keys.own(member.host);
  const shared = record.addresses
    .filter((address) => !isOurs(address))
    .flatMap((address) => subnetWith(networks, address) ?? []);
  const revision = await withdraw(member, [
    own.virtual(service, encode(record)),
    ...record.addresses.map((address) => own.address(address, service)),
    ...shared
      .filter((subnet) => view.subnetHolder(subnet) !== addressHolder)
      .map((subnet) => own.shared(subnet)),
  ]);
  if (revision !== undefined) await view.reached(revision);
  return false;
}

/** @returns the services that have the ports instead */
async function keepPorts({ member }: JoinDeps, service: string, ports: readonly string[]): Promise<string[]> {
  const others = ports.flatMap((port) => {
    const holder = member.view.portHolder(port);
    return holder === undefined || holder === service ? [] : [{ port, holder }];
  });
  await withdraw(
    member,
    others.map(({ port }) => member.keys.own(member.host).port(port, service)),
  );
  return others.map(
    ({ port, holder }) =>
      `NETWORK_SERVICE_ADDRESS_TAKEN: the ingress port ${port.replace('-', ' ')} belongs to the service ${holder} on all hosts`,
  );
}
