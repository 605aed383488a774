import { isPortcullisError, reasonAndFix, reasonOf } from '../../../base/errors/index.ts';
import { noServiceRules } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import type { Member as HostMember } from '../ownership/membership.ts';
import type { OverlayNetwork } from '../records/settings.ts';
import { endServices, heldServices, leaveService } from './claims.ts';
import type { LocalMember } from './fitting-members.ts';
import { createDelayedEnds } from './delayed-ends.ts';
import { isJoined, joinService } from './join-service.ts';
import type { Joined } from './join-service.ts';
import type { Merged } from './merged.ts';
import { createSerialActs } from './serial-acts.ts';

/**
 * Writes to etcd which services the members on this host joined, one act after the other, and releases
 * resources that no member uses any longer.
 */
export interface Publisher {
  /**
   * Writes everything under a new lease. Problems of single services are logged. @throws
   * OVERLAY_ETCD_UNREACHABLE
   */
  register(lease: number): Promise<void>;
  /** Called when members changed, or the state of these services in etcd. */
  look(concerned?: ReadonlySet<string>): void;
  /** Retries refused requests, because the resources may be free by now. */
  sweep(): void;
  /** Removes everything that this host wrote. @throws OVERLAY_ETCD_UNREACHABLE */
  leave(): Promise<void>;
  /** Why requests of members here are refused, by service. */
  readonly refused: ReadonlyMap<string, readonly string[]>;
  close(): void;
}

export interface PublisherDeps {
  readonly member: HostMember;
  readonly networks: readonly OverlayNetwork[];
  readonly merged: Merged;
  readonly readLocal: () => readonly LocalMember[];
  /** Rules of this host's settings for services; absent: services use nothing of the host. */
  readonly rules?: ServiceRules;
  /** Each refusal is logged once. */
  readonly log: { warn(fields: object, message: string): void };
}

/** The text that this host wrote about a service, and the service that it joined: absent when none. */
interface Saying {
  readonly text: string;
  readonly joined?: Joined;
}

const retryMs = 1000;
/**
 * Longer than connections to a member that left may last, because its address can belong to another member
 * afterwards.
 */
const endAfterMs = 4000;

export function openPublisher({
  member,
  networks,
  merged,
  readLocal,
  rules = noServiceRules,
  log,
}: PublisherDeps): Publisher {
  const { view } = member;
  let lease: number | undefined;
  /** Texts that this host wrote to etcd, by service. */
  const said = new Map<string, Saying>();
  const { refused, refuse } = createServiceRefusals(log);
  const acts = createSerialActs();
  let again: NodeJS.Timeout | undefined;
  let closed = false;

  const ends = createDelayedEnds(
    acts,
    async (service) => {
      // A service that was joined again meanwhile is kept.
      if (said.get(service)?.joined === undefined)
        await view.reached(await endServices(member, networks, [service]));
    },
    { endAfterMs, retryMs },
  );

  const leaveOne = async (service: string): Promise<void> => {
    await leaveService(member, service);
    said.delete(service);
    refuse(service, []);
    ends.add(service);
  };

  const leaveUnfit = async (service: string): Promise<void> => {
    // No client was connected to members that never joined the service: there is nothing to wait for.
    if (said.get(service)?.joined === undefined)
      return view.reached(await endServices(member, networks, [service]));
    await leaveService(member, service);
    ends.add(service);
  };
  const deps = { member, networks, merged, rules, leaveUnfit };

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
        const { refusals, joined } = await joinService(deps, service, members, held);
        refuse(service, refusals);
        said.set(service, { text, ...(joined && { joined }) });
      } catch (thrown) {
        if (!isPortcullisError(thrown) || thrown.code === 'OVERLAY_ETCD_UNREACHABLE') throw thrown;
        refuse(service, [`${thrown.code}: ${thrown.failure.on}: ${reasonAndFix(thrown.failure)}`]);
      }
    }
  };

  const look: Publisher['look'] = (concerned = new Set()) => {
    if (closed || lease === undefined) return;
    void acts
      .run(async () => {
        for (const service of concerned)
          if (!isJoined(merged, service, said.get(service)?.joined)) said.delete(service);
        await bring();
      })
      .catch((thrown: unknown) => {
        // Failures of etcd are handled by the lease; pending changes are written soon.
        if (!isPortcullisError(thrown))
          log.warn(
            { why: reasonOf(thrown) },
            'members of services could not be published to other hosts; it is tried again',
          );
        clearTimeout(again);
        if (!closed) again = setTimeout(look, retryMs);
      });
  };

  return {
    refused,
    register: (held) =>
      acts.run(async () => {
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
      acts.run(async () => {
        await endServices(member, networks, await heldServices(member));
      }),
    close() {
      closed = true;
      clearTimeout(again);
      acts.close();
    },
  };
}

/** Refusals by service. Each is logged when it differs from the last one. */
function createServiceRefusals(log: PublisherDeps['log']) {
  const refused = new Map<string, readonly string[]>();
  const refuse = (service: string, lines: readonly string[]): void => {
    const before = refused.get(service)?.join() ?? '';
    if (lines.length === 0) refused.delete(service);
    else refused.set(service, lines);
    if (lines.length > 0 && lines.join() !== before)
      log.warn(
        { service, why: lines },
        'members of this host cannot get all that they request of a service across hosts; the rest applies',
      );
  };
  return { refused, refuse };
}
