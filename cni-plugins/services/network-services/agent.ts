import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { createNameStore } from '../../attach/endpoint-names.ts';
import type { NetworkName } from '../../attach/endpoint-names.ts';
import type { NetworkDatabase } from '../../attach/database.ts';
import type { RefusedService, Service } from '../model.ts';
import { openHostSide } from './host-side.ts';
import type { Scoped } from './host-side.ts';
import { createMemberReader, servicesOf } from './members.ts';
import type { NetworkService } from './members.ts';
import { createIngressGuard } from './ingress.ts';
import { balancedServices, isCrowded, modeOf, mostBalanced, namesOfMember, serviceNameOf, serviceNames } from './plan.ts';
import { createSpannedReader } from './spanned.ts';
import { openVirtualAddresses } from './virtual-addresses.ts';

/** Brings memberships to the kernel and to the names. */
export interface NetworkServicesAgent {
  /** Brings everything to the stored state. A failure is logged and retried by the next call. */
  look(): Promise<void>;
  /** Whether anything was written since the last look, or waits for another one. */
  isBehind(): boolean;
  /** Whether something waits for connections to end, or failed. The next look may then come after a while. */
  isWaiting(): boolean;
  close(): void;
}

export interface AgentParts {
  /** A connection for the agent alone. */
  readonly database: NetworkDatabase;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Applies all services of the networks. Services that are not in the list are removed. */
  apply(services: readonly Service[]): readonly RefusedService[];
  /** Whether connections to a removed service are still being ended. */
  isEnding(service: string): boolean;
}

export function openNetworkServices({ database, log, apply, isEnding }: AgentParts): NetworkServicesAgent {
  const addresses = openVirtualAddresses(database, log);
  const { realm } = addresses;
  const readMembers = createMemberReader(database, realm);
  const readSpanned = createSpannedReader(database, realm);
  const names = createNameStore(database);
  const host = openHostSide();
  const ingress = createIngressGuard(database);
  const selectHolders = database.db.prepare("SELECT DISTINCT network, holder FROM name WHERE realm = ? AND holder LIKE 'service/%'");
  const selectNames = database.db.prepare('SELECT count(*) AS count FROM name WHERE realm = ? AND network = ? AND holder = ?');
  const removeName = database.db.prepare("DELETE FROM name WHERE attachment = ? AND name = ? AND kind = 'service'");
  const selectVersion = database.db.prepare('PRAGMA data_version');
  const told = new Map<string, string>();
  /** Services that failed during this look. */
  const failing = new Set<string>();
  /** The names as they were last put, by holder. */
  const put = new Map<string, string>();
  let version: unknown;
  let waiting = true;

  const versionNow = (): unknown => (selectVersion.get() as { data_version: unknown }).data_version;

  /** Logs each problem once, until it changes or is over. */
  const tell = (service: string, why: string, code: string): void => {
    waiting = true;
    failing.add(service);
    if (told.get(service) === why) return;
    told.set(service, why);
    log.warn({ service, why, code }, 'a service of a network is not in force; it is tried again');
  };
  /** There is nothing to retry: the condition ends when members leave. */
  const tellCrowded = (service: string): void => {
    const key = `${service} crowded`;
    failing.add(key);
    if (told.has(key)) return;
    told.set(key, '');
    log.warn({ service }, `a service of a network has more than ${mostBalanced} members: a part of them gets connections from this host`);
  };
  const attempt = async <T>(service: string, act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act();
    } catch (thrown) {
      tell(service, reasonOf(thrown), isPortcullisError(thrown) ? thrown.code : 'NETWORK_SERVICES_FAILED');
      return undefined;
    }
  };

  /** No retry is needed: the service is in force, or a later look finds the port free. */
  const tellPort = (service: string, why: string): void => {
    const key = `${service} ${why}`;
    failing.add(key);
    if (told.has(key)) return;
    told.set(key, '');
    log.warn(
      { service, why, code: 'NETWORK_SERVICE_INGRESS_CLOSED' },
      'an ingress port of a service of a network is not published as its members ask',
    );
  };

  const writeNames = (network: string, holder: string, owner: string, given: readonly NetworkName[]): void => {
    const key = `${network} ${holder}`;
    const text = JSON.stringify([owner, given]);
    // A boot, or the end of the namespace, removes names as well.
    const stands = put.get(key) === text && (selectNames.get(realm, network, holder) as { count: number }).count > 0;
    if (stands) return;
    database.transaction(() => names.put({ realm, network, holder, owner }, given));
    put.set(key, text);
  };

  /** Removes the names of services that no longer have any. */
  const forgetNames = (services: ReadonlySet<string>): void => {
    for (const { network, holder } of selectHolders.all(realm) as unknown as { network: string; holder: string }[]) {
      if (services.has(`${network} ${holder}`)) continue;
      database.transaction(() => names.take({ realm, network, holder }));
      put.delete(`${network} ${holder}`);
    }
  };

  const virtual = async (service: NetworkService): Promise<{ own: readonly string[]; scoped: readonly Scoped[] } | undefined> =>
    attempt(serviceNameOf(service), async () => {
      const { spanned } = service;
      if (spanned === undefined) {
        const own = await addresses.ensure(service);
        return { own, scoped: host.answer(serviceNameOf(service), own) };
      }
      const own = await addresses.adopt({ ...service, spanned }, host.silence);
      return { own, scoped: host.answerRouted(own, spanned.link) };
    });

  /**
   * Removes the names of refused members of a service over hosts: members in the other mode or of another
   * Kubernetes namespace. The overlay reports them.
   */
  const unname = ({ spanned }: NetworkService): void => {
    for (const member of spanned?.refused ?? [])
      for (const { name } of namesOfMember(member)) if (member.attachment !== undefined) removeName.run(member.attachment, name);
  };

  /**
   * After the last member left, first the names go, then connections end, and then the address is given back.
   */
  const giveBack = async (services: readonly NetworkService[]): Promise<void> => {
    const wanted = new Set(services.filter((service) => modeOf(service) === 'vip').map(serviceNameOf));
    for (const standing of addresses.standing()) {
      if (wanted.has(serviceNameOf(standing))) continue;
      if (isEnding(serviceNameOf(standing))) {
        waiting = true;
        continue;
      }
      await attempt(serviceNameOf(standing), async () => {
        host.silence(standing.addresses);
        await addresses.release(standing);
        log.info({ service: serviceNameOf(standing), addresses: standing.addresses }, 'a service of a network gave its addresses back');
      });
    }
  };

  const scope = (scoped: readonly Scoped[]): void => {
    const known = new Set(scoped.map(({ address }) => address));
    const others = addresses.standing().flatMap((standing) => standing.addresses.filter((address) => !known.has(address)));
    host.scope([...scoped, ...others.map((address): Scoped => ({ address }))]);
  };

  const once = async (): Promise<void> => {
    version = versionNow();
    waiting = false;
    failing.clear();
    const services = servicesOf(readMembers(), readSpanned());
    const balanced: Service[] = [];
    const scoped: Scoped[] = [];
    const found: { network: string; name: string; of: string; owner: string; names: readonly NetworkName[] }[] = [];
    for (const service of services) {
      const isVirtual = modeOf(service) === 'vip';
      const made = isVirtual ? await virtual(service) : { own: [], scoped: [] };
      if (made === undefined) continue;
      if (isCrowded(service)) tellCrowded(serviceNameOf(service));
      const guard = ingress.of(service);
      guard.problems.forEach((why) => tellPort(serviceNameOf(service), why));
      append(balanced, balancedServices(service, made.own, realm, guard.isOpen));
      append(scoped, made.scoped);
      const [{ owner = '' }] = service.members;
      found.push({
        network: service.network,
        name: service.name,
        of: serviceNameOf(service),
        owner,
        names: serviceNames(service, made.own),
      });
    }
    // An address is out of reach for others before it is balanced and until it is given back.
    scope(scoped);
    const refused = new Map(apply(balanced).map((each) => [each.name, each]));
    for (const [service, { code, field, why }] of refused) tell(service, `${field}: ${why}`, code);
    const named = found.filter(({ names: given }) => given.length > 0);
    // A refused service keeps its previous state and its names.
    for (const { network, name, of, owner, names: given } of named)
      if (!refused.has(of)) writeNames(network, `service/${name}`, owner, given);
    services.forEach(unname);
    forgetNames(new Set(named.map(({ network, name }) => `${network} service/${name}`)));
    await giveBack(services);
    scope(scoped);
    for (const service of told.keys()) if (!failing.has(service)) told.delete(service);
  };

  return {
    async look() {
      try {
        await once();
      } catch (thrown) {
        waiting = true;
        throw thrown;
      }
    },
    isBehind: () => waiting || versionNow() !== version,
    isWaiting: () => waiting,
    close() {
      host.close();
      addresses.close();
    },
  };
}
