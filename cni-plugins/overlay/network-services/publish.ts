import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Member as HostMember } from '../membership.ts';
import type { OverlayNetwork } from '../settings.ts';
import { chooseAddresses } from './addresses.ts';
import { createService, endService, findService, freePort, heldServices, joinService, leaveService, takePort } from './claims.ts';
import type { Said, StandingService } from './claims.ts';
import type { Merged } from './merged.ts';
import { portText } from './records.ts';
import type { PublishedMember } from './records.ts';

/** A member of a service on this host. */
export interface LocalMember extends PublishedMember {
  readonly service: string;
  readonly mode: 'vip' | 'dnsrr';
  readonly virtualIPs: readonly string[];
}

/** Says in etcd which services the members on this host joined, one act after the other, and gives back what nobody has any more. */
export interface Publisher {
  /** All of it, bound to a new lease. What is in the way of one service is told; @throws OVERLAY_ETCD_UNREACHABLE */
  register(lease: number): Promise<void>;
  /** Members changed, or what etcd has of these services did. */
  look(concerned?: ReadonlySet<string>): void;
  /** Looks for what was left by the dead. */
  sweep(): void;
  /** Takes out all that this host said. @throws OVERLAY_ETCD_UNREACHABLE */
  leave(): Promise<void>;
  /** Why something that members here ask for is not so, by service. */
  readonly refused: ReadonlyMap<string, readonly string[]>;
  close(): void;
}

export interface PublisherParts {
  readonly member: HostMember;
  readonly networks: readonly OverlayNetwork[];
  readonly merged: Merged;
  readonly readLocal: () => readonly LocalMember[];
  /** What is refused is told once. */
  readonly log: { warn(fields: object, message: string): void };
}

/** What this host said of a service, and of which one: absent, of none. */
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
/** Longer than connections of a member that left may go on: its address is another's afterwards. */
const endAfterMs = 4000;
/** So often is a service written that is another one each time. */
const attempts = 20;

export function openPublisher({ member, networks, merged, readLocal, log }: PublisherParts): Publisher {
  let lease: number | undefined;
  /** As it stands in etcd by us, by service. */
  const said = new Map<string, Saying>();
  const refused = new Map<string, readonly string[]>();
  let ending: Promise<unknown> = Promise.resolve();
  let again: NodeJS.Timeout | undefined;
  const timers = new Set<NodeJS.Timeout>();
  /** Found twice, some time apart: whoever left it is dead. */
  let suspects = new Set<string>();
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
      log.warn({ service, why: lines }, 'members of this host can not have of a service over hosts what they ask for; the rest stands');
  };

  const later = (afterMs: number, act: () => Promise<unknown>): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      // What fails is found again by the next sweep.
      void serially(act).catch(() => undefined);
    }, afterMs);
    timers.add(timer);
  };

  /** Nobody else holds it, most likely. */
  const endLater = (service: string): void =>
    later(endAfterMs, async () => {
      await endService(member, service);
      await freePorts(service);
    });

  const leaveOne = async (service: string): Promise<void> => {
    await leaveService(member, service);
    said.delete(service);
    refuse(service, []);
    endLater(service);
  };

  /** Of those that fit to the service; the first says the mode of a new one. */
  const write = async (service: string, local: readonly LocalMember[], held: number): Promise<Written> => {
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      const standing = await findService(member, service);
      const mode = standing?.record.mode ?? local[0]?.mode ?? 'vip';
      const fitting = local.filter((each) => each.mode === mode);
      const refusals = standing === undefined ? [] : misfits(local, standing, hostsOf(merged, service));
      if (standing !== undefined && fitting.length === 0) {
        await leaveService(member, service);
        endLater(service);
        return { refusals };
      }
      const ports = [...new Set(fitting.flatMap(({ ingressPorts }) => ingressPorts.map(portText)))].toSorted();
      const saying: Said = { members: fitting.map(published), ingressPorts: ports, lease: held };
      if (standing === undefined) {
        const former = merged.service(service)?.addresses ?? [];
        const wanted = fitting.find(({ virtualIPs }) => virtualIPs.length > 0)?.virtualIPs ?? [];
        const addresses = mode === 'vip' ? await chooseAddresses(member, networks, service, { wanted, former }) : [];
        await createService(member, service, { mode, addresses }, saying);
        // Written by us or by another host: the next round joins it.
        continue;
      }
      if (!(await joinService(member, service, standing, saying))) continue;
      const others = await takePorts(service, standing, ports);
      if (others !== undefined) return { refusals: [...refusals, ...others], joined: { record: JSON.stringify(standing.record), ports } };
    }
    return { refusals: [`it was another one at each of ${attempts} attempts to join it`] };
  };

  /** @returns whose ports they are instead; undefined: the service is gone */
  const takePorts = async (service: string, standing: StandingService, ports: readonly string[]): Promise<string[] | undefined> => {
    const lines: string[] = [];
    for (const port of ports) {
      const holder = merged.portHolder(port) === service ? service : await takePort(member, service, standing, port);
      if (holder === undefined) return undefined;
      if (holder !== service)
        lines.push(`NETWORK_SERVICE_ADDRESS_TAKEN: the ingress port ${port.replace('-', ' ')} is the service ${holder}'s on all hosts`);
    }
    return lines;
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
        if (before?.joined?.ports.some((port) => joined?.ports.includes(port) !== true) === true)
          later(endAfterMs, () => freePorts(service));
      } catch (thrown) {
        if (!isPortcullisError(thrown) || thrown.code === 'OVERLAY_ETCD_UNREACHABLE') throw thrown;
        refuse(service, [`${thrown.code}: ${thrown.failure.on}: ${thrown.failure.why}; ${thrown.failure.fix}`]);
      }
    }
  };

  /** Of ports that its members had here, and have no more. */
  const freePorts = async (service: string): Promise<void> => {
    for (const port of merged.orphans().ports) if (merged.portHolder(port) === service) await freePort(member, port);
  };

  /** Whether etcd still has what this host joined. */
  const stands = (service: string): boolean => {
    const joined = said.get(service)?.joined;
    const found = merged.service(service);
    if (joined === undefined || found === undefined) return false;
    const { mode, addresses } = found;
    return joined.record === JSON.stringify({ mode, addresses }) && joined.ports.every((port) => merged.portHolder(port) !== undefined);
  };

  const look: Publisher['look'] = (concerned = new Set()) => {
    if (closed || lease === undefined) return;
    void serially(async () => {
      for (const service of concerned) if (!stands(service)) said.delete(service);
      await bring();
    }).catch((thrown: unknown) => {
      // The lease tells of etcd; what was not said yet is said soon.
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
        said.clear();
        lease = held;
        const names = new Set(readLocal().map(({ service }) => service));
        for (const service of await heldServices(member)) if (!names.has(service)) await leaveOne(service);
        await bring();
      }),
    look,
    sweep() {
      if (closed || lease === undefined) return;
      // What was refused may be free by now.
      if (refused.size > 0) look(new Set(refused.keys()));
      const { services, ports } = merged.orphans();
      const found = new Set([...services.map((name) => `service ${name}`), ...ports.map((port) => `port ${port}`)]);
      for (const service of services)
        if (suspects.has(`service ${service}`)) later(Math.random() * endAfterMs, () => endService(member, service));
      for (const port of ports) if (suspects.has(`port ${port}`)) later(Math.random() * endAfterMs, () => freePort(member, port));
      suspects = found;
    },
    leave: () =>
      serially(async () => {
        for (const service of await heldServices(member)) {
          await leaveService(member, service);
          await endService(member, service);
        }
      }),
    close() {
      closed = true;
      clearTimeout(again);
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

const published = ({ id, addresses, isReady, aliases, ports, ingressPorts }: LocalMember): PublishedMember => ({
  id,
  addresses,
  isReady,
  aliases,
  ports,
  ingressPorts,
});

const hostsOf = (merged: Merged, service: string): string => [...(merged.service(service)?.members.keys() ?? [])].slice(0, 3).join(', ');

function misfits(local: readonly LocalMember[], { record }: StandingService, hosts: string): string[] {
  return local
    .filter(({ mode }) => mode !== record.mode)
    .map(
      ({ id, mode }) =>
        `NETWORK_SERVICE_MODE_DIFFERS: ${id.slice(0, 64)} joins with the mode ${mode}, and the service has ${record.mode}${hosts === '' ? '' : ` (${hosts})`}`,
    );
}
