import type { Logger } from '../../../base/log/index.ts';
import type { HostSide, Scoped } from './host-side.ts';
import type { NetworkService } from './members.ts';
import { modeOf, serviceNameOf } from './plan.ts';
import type { VirtualAddresses } from './virtual-addresses.ts';

export interface ServiceAddressesDeps {
  readonly leases: Pick<VirtualAddresses, 'adopt' | 'ensure' | 'release' | 'standing'>;
  readonly host: Pick<HostSide, 'answer' | 'answerRouted' | 'scope' | 'silence'>;
  readonly log: Pick<Logger, 'info'>;
  /** Whether connections to a removed service are still being ended. */
  isEnding(service: string): boolean;
  /** Runs a step for a service. A failure is logged and retried by the next look. */
  attempt<T>(service: string, act: () => Promise<T>): Promise<T | undefined>;
}

/** The virtual addresses of services on this host, from the lease until they are given back. */
export interface ServiceAddresses {
  /**
   * Gives the service its addresses, and has a link of this host answer for them. Returns undefined after a
   * failure.
   */
  answer(service: NetworkService): Promise<AnsweredAddresses | undefined>;
  /**
   * Makes these addresses reachable from their links alone, and all other addresses of services from none.
   */
  scope(scoped: readonly Scoped[]): void;
  /**
   * Gives back the addresses of all services except these. Returns whether an address waits for connections
   * to end.
   */
  giveBack(services: readonly NetworkService[]): Promise<boolean>;
}

export interface AnsweredAddresses {
  readonly own: readonly string[];
  readonly scoped: readonly Scoped[];
}

export function createServiceAddresses({
  leases,
  host,
  log,
  isEnding,
  attempt,
}: ServiceAddressesDeps): ServiceAddresses {
  return {
    answer: (service) =>
      attempt(serviceNameOf(service), async () => {
        const { spanned } = service;
        if (spanned === undefined) {
          const own = await leases.ensure(service);
          return { own, scoped: host.answer(serviceNameOf(service), own) };
        }
        const own = await leases.adopt({ ...service, spanned }, host.silence);
        return { own, scoped: host.answerRouted(own, spanned.link) };
      }),
    scope(scoped) {
      const known = new Set(scoped.map(({ address }) => address));
      const others = leases
        .standing()
        .flatMap((existing) => existing.addresses.filter((address) => !known.has(address)));
      host.scope([...scoped, ...others.map((address): Scoped => ({ address }))]);
    },
    async giveBack(services) {
      let waiting = false;
      const wanted = new Set(services.filter((service) => modeOf(service) === 'vip').map(serviceNameOf));
      for (const existing of leases.standing()) {
        if (wanted.has(serviceNameOf(existing))) continue;
        if (isEnding(serviceNameOf(existing))) {
          waiting = true;
          continue;
        }
        await attempt(serviceNameOf(existing), async () => {
          host.silence(existing.addresses);
          await leases.release(existing);
          log.info(
            { service: serviceNameOf(existing), addresses: existing.addresses },
            'a network service gave its addresses back',
          );
        });
      }
      return waiting;
    },
  };
}
