import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { noServiceRules, ownerOfPod, whyClosed } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import type { Member as HostMember } from '../membership.ts';
import { encode } from '../records.ts';
import type { OverlayNetwork } from '../settings.ts';
import { chooseAddresses, subnetWith } from './addresses.ts';
import { endServices, findService, heldServices, leaveService, sayService, withdraw } from './claims.ts';
import type { StandingService } from './claims.ts';
import type { Merged } from './merged.ts';
import { addressHolder, portText } from './records.ts';
import type { PublishedMember, VirtualRecord } from './records.ts';

/** A member of a service on this host. */
export interface LocalMember extends PublishedMember {
  readonly owner?: string;
  readonly service: string;
  readonly mode: 'vip' | 'dnsrr';
  readonly virtualIPs: readonly string[];
}

/**
 * Writes to etcd which services the members on this host joined, one act after the other, and gives back what
 * no member uses any more.
 */
export interface Publisher {
  /**
   * Writes everything under a new lease. Problems of single services are logged. @throws
   * OVERLAY_ETCD_UNREACHABLE
   */
  register(lease: number): Promise<void>;
  /** Called when members changed, or the state of these services in etcd. */
  look(concerned?: ReadonlySet<string>): void;
  /** Retries what was refused: it may be free by now. */
  sweep(): void;
  /** Removes everything that this host wrote. @throws OVERLAY_ETCD_UNREACHABLE */
  leave(): Promise<void>;
  /** Why requests of members here are refused, by service. */
  readonly refused: ReadonlyMap<string, readonly string[]>;
  close(): void;
}

export interface PublisherParts {
  readonly member: HostMember;
  readonly networks: readonly OverlayNetwork[];
  readonly merged: Merged;
  readonly readLocal: () => readonly LocalMember[];
  /** What this host's settings let services use; absent: nothing of the host. */
  readonly rules?: ServiceRules;
  /** Each refusal is logged once. */
  readonly log: { warn(fields: object, message: string): void };
}

/** What this host wrote about a service, and which service it joined: absent when none. */
interface Saying {
  readonly text: string;
  readonly joined?: Joined;
}
interface Joined {
  readonly record: string;
  readonly ports: readonly string[];
}
interface Written {
  readonly refusals: readonly string[];
  readonly joined?: Joined;
}

const retryMs = 1000;
/**
 * Longer than connections of a member that left may last: its address belongs to another member afterwards.
 */
const endAfterMs = 4000;
/** Number of attempts to write a service that another host keeps changing. */
const attempts = 20;

export function openPublisher({ member, networks, merged, readLocal, rules = noServiceRules, log }: PublisherParts): Publisher {
  const { view, keys } = member;
  let lease: number | undefined;
  /** What this host wrote to etcd, by service. */
  const said = new Map<string, Saying>();
  const refused = new Map<string, readonly string[]>();
  let ending: Promise<unknown> = Promise.resolve();
  let again: NodeJS.Timeout | undefined;
  const timers = new Set<NodeJS.Timeout>();
  let closed = false;

  const serially = <Value>(act: () => Promise<Value>): Promise<Value> => {
    const turn = ending.catch(() => undefined).then(act);
    ending = turn.catch(() => undefined);
    return turn;
  };

  const refuse = (service: string, lines: readonly string[]): void => {
    const before = refused.get(service)?.join() ?? '';
    if (lines.length === 0) refused.delete(service);
    else refused.set(service, lines);
    if (lines.length > 0 && lines.join() !== before)
      log.warn({ service, why: lines }, 'members of this host cannot have of a service over hosts what they ask for; the rest stands');
  };

  const later = (afterMs: number, act: () => Promise<unknown>): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      // The next sweep finds what failed.
      void serially(act).catch(() => undefined);
    }, afterMs);
    timers.add(timer);
  };

  const endLater = (service: string): void =>
    later(endAfterMs, async () => {
      // A service that was joined again meanwhile is kept.
      if (!said.has(service)) await view.reached(await endServices(member, networks, [service]));
    });

  const leaveOne = async (service: string): Promise<void> => {
    await leaveService(member, service);
    said.delete(service);
    refuse(service, []);
    endLater(service);
  };

  /** Writes the members that fit the service. The first one defines the mode of a new service. */
  const write = async (service: string, local: readonly LocalMember[], held: number): Promise<Written> => {
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      if (attempt > 0) await pause(Math.random() * 100);
      const standing = findService(member, service);
      const mode = standing?.record.mode ?? local[0]?.mode ?? 'vip';
      const owner = standing === undefined ? ownerOf(local[0]) : (standing.record.owner ?? '');
      const isShared = rules.sharedServices.some((shared) => shared === '*' || shared === service);
      const isOwn = (each: LocalMember): boolean => isShared || ownerOf(each) === owner;
      const fitting = local.filter((each) => each.mode === mode && isOwn(each));
      const refusals = standing === undefined ? [] : misfits(local, standing, { hosts: hostsOf(merged, service), isOwn });
      if (fitting.length === 0) {
        // No client was connected to members that never joined the service: there is nothing to wait for.
        if (said.get(service)?.joined === undefined) await view.reached(await endServices(member, networks, [service]));
        else {
          await leaveService(member, service);
          endLater(service);
        }
        return { refusals };
      }
      if (standing === undefined && merged.countOf(owner, service) >= rules.servicesPerNamespace)
        return {
          refusals: [`NETWORK_SERVICES_EXHAUSTED: the namespace ${owner} has ${rules.servicesPerNamespace} services of this network`],
        };
      // A port that this host does not open to the members is not claimed: services of hosts that open it may
      // have it.
      const open = fitting.flatMap((each) => each.ingressPorts.filter((port) => whyClosed(rules, ownerOf(each), port) === undefined));
      const ports = [...new Set(open.map(portText))].toSorted();
      const record = standing?.record ?? { mode, owner, addresses: mode === 'vip' ? choose(service, fitting) : [] };
      const saying = { members: fitting.map(published), ingressPorts: ports, lease: held };
      const revision = await sayService(member, networks, service, record, { standing, said: saying });
      if (revision === undefined) continue;
      await view.reached(revision);
      // Another host was first: the next round joins its service.
      if (JSON.stringify(findService(member, service)?.record) !== JSON.stringify(record)) continue;
      if (!(await keepAddresses(service, record))) continue;
      return { refusals: [...refusals, ...(await keepPorts(service, ports))], joined: { record: JSON.stringify(record), ports } };
    }
    return { refusals: [`it was another one at each of ${attempts} attempts to join it`] };
  };

  const choose = (service: string, fitting: readonly LocalMember[]): string[] => {
    const former = merged.service(service)?.addresses ?? [];
    const wanted = fitting.find(({ virtualIPs }) => virtualIPs.length > 0)?.virtualIPs ?? [];
    return chooseAddresses(view, networks, service, { wanted, former });
  };

  /** @returns false when another service or a host was first; then this host's claims on it are withdrawn */
  const keepAddresses = async (service: string, record: VirtualRecord): Promise<boolean> => {
    const isOurs = (address: string): boolean =>
      view.addressHolder(address) === service && view.subnetHolder(subnetWith(networks, address) ?? '') === addressHolder;
    if (record.addresses.every(isOurs)) return true;
    const own = keys.own(member.host);
    const shared = record.addresses.filter((address) => !isOurs(address)).flatMap((address) => subnetWith(networks, address) ?? []);
    const revision = await withdraw(member, [
      own.virtual(service, encode(record)),
      ...record.addresses.map((address) => own.address(address, service)),
      ...shared.filter((subnet) => view.subnetHolder(subnet) !== addressHolder).map((subnet) => own.shared(subnet)),
    ]);
    if (revision !== undefined) await view.reached(revision);
    return false;
  };

  /** @returns the services that have the ports instead */
  const keepPorts = async (service: string, ports: readonly string[]): Promise<string[]> => {
    const others = ports.flatMap((port) => {
      const holder = view.portHolder(port);
      return holder === undefined || holder === service ? [] : [{ port, holder }];
    });
    await withdraw(
      member,
      others.map(({ port }) => keys.own(member.host).port(port, service)),
    );
    return others.map(
      ({ port, holder }) =>
        `NETWORK_SERVICE_ADDRESS_TAKEN: the ingress port ${port.replace('-', ' ')} is the service ${holder}'s on all hosts`,
    );
  };

  const bring = async (): Promise<void> => {
    const held = lease;
    if (held === undefined) return;
    const local = Map.groupBy(readLocal(), ({ service }) => service);
    for (const service of [...said.keys()]) if (!local.has(service)) await leaveOne(service);
    for (const service of refused.keys()) if (!local.has(service)) refuse(service, []);
    for (const [service, members] of local) {
      const text = JSON.stringify(members);
      const before = said.get(service);
      if (before?.text === text) continue;
      try {
        const { refusals, joined } = await write(service, members, held);
        refuse(service, refusals);
        said.set(service, { text, ...(joined && { joined }) });
      } catch (thrown) {
        if (!isPortcullisError(thrown) || thrown.code === 'OVERLAY_ETCD_UNREACHABLE') throw thrown;
        refuse(service, [`${thrown.code}: ${thrown.failure.on}: ${thrown.failure.why}; ${thrown.failure.fix}`]);
      }
    }
  };

  /** Returns whether etcd still has what this host joined. */
  const stands = (service: string): boolean => {
    const joined = said.get(service)?.joined;
    const found = merged.service(service);
    if (joined === undefined || found === undefined) return false;
    const { mode, owner, addresses } = found;
    return (
      joined.record === JSON.stringify({ mode, ...(owner !== undefined && { owner }), addresses }) &&
      joined.ports.every((port) => merged.portHolder(port) !== undefined)
    );
  };

  const look: Publisher['look'] = (concerned = new Set()) => {
    if (closed || lease === undefined) return;
    void serially(async () => {
      for (const service of concerned) if (!stands(service)) said.delete(service);
      await bring();
    }).catch((thrown: unknown) => {
      // Failures of etcd are handled by the lease; what was not written yet is written soon.
      if (!isPortcullisError(thrown))
        log.warn({ why: reasonOf(thrown) }, 'members of services over hosts could not be told to others; it is tried again');
      clearTimeout(again);
      if (!closed) again = setTimeout(look, retryMs);
    });
  };

  return {
    refused,
    register: (held) =>
      serially(async () => {
        await view.reached(0);
        said.clear();
        lease = held;
        const names = new Set(readLocal().map(({ service }) => service));
        for (const service of await heldServices(member)) if (!names.has(service)) await leaveOne(service);
        await bring();
      }),
    look,
    sweep() {
      if (closed || lease === undefined) return;
      if (refused.size > 0) look(new Set(refused.keys()));
    },
    leave: () =>
      serially(async () => {
        await endServices(member, networks, await heldServices(member));
      }),
    close() {
      closed = true;
      clearTimeout(again);
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

/** Returns the owner as the reader of members has it. A member without a known owner is not a pod. */
const ownerOf = (local: Pick<LocalMember, 'owner'> | undefined): string => ownerOfPod(local?.owner ?? '');

const published = ({ id, owner, addresses, isReady, aliases, ports, ingressPorts }: LocalMember): PublishedMember => ({
  id,
  owner: ownerOf(owner === undefined ? undefined : { owner }),
  addresses,
  isReady,
  aliases,
  ports,
  ingressPorts,
});

const hostsOf = (merged: Merged, service: string): string => [...(merged.service(service)?.members.keys() ?? [])].slice(0, 3).join(', ');

function misfits(
  local: readonly LocalMember[],
  { record }: StandingService,
  { hosts, isOwn }: { readonly hosts: string; readonly isOwn: (each: LocalMember) => boolean },
): string[] {
  const there = hosts === '' ? '' : ` (${hosts})`;
  return local.flatMap((each) => {
    const id = each.id.slice(0, 64);
    if (!isOwn(each))
      return [
        `NETWORK_SERVICE_OTHER_NAMESPACE: ${id} of ${ownerOf(each)} joins, and the service belongs to ${record.owner ?? 'hosts of an earlier version'}${there}`,
      ];
    if (each.mode === record.mode) return [];
    return [`NETWORK_SERVICE_MODE_DIFFERS: ${id} joins with the mode ${each.mode}, and the service has ${record.mode}${there}`];
  });
}
