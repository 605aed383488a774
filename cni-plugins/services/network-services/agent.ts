import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { NetworkName } from '../../database/endpoint-names.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { RefusedService, Service } from '../model/model.ts';
import { openHostSide } from './host-side.ts';
import type { Scoped } from './host-side.ts';
import { createMemberReader, servicesOf } from './members.ts';
import type { NetworkService } from './members.ts';
import { createIngressGuard } from './ingress.ts';
import { balancedServices, isCrowded, modeOf, serviceNameOf, serviceNames } from './plan.ts';
import { createServiceProblems } from './problems.ts';
import { createServiceAddresses } from './service-addresses.ts';
import { createServiceNames } from './service-names.ts';
import { createSpannedReader } from './spanned.ts';
import { openVirtualAddresses } from './virtual-addresses.ts';

/** Brings memberships to the kernel and to the names. */
export interface NetworkServicesAgent {
  /** Brings everything to the stored state. A failure is logged and retried by the next call. */
  look(): Promise<void>;
  /** Whether something waits for connections to end, or failed. The next look may then come after a while. */
  isWaiting(): boolean;
  close(): void;
}

export interface AgentDeps {
  /** A connection for the agent alone. */
  readonly database: NetworkDatabase;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Applies all services of the networks. Services that are not in the list are removed. */
  apply(services: readonly Service[]): readonly RefusedService[];
  /** Whether connections to a removed service are still being ended. */
  isEnding(service: string): boolean;
}

export function openNetworkServices({ database, log, apply, isEnding }: AgentDeps): NetworkServicesAgent {
  const leases = openVirtualAddresses(database, log);
  const { namespaceId } = leases;
  const readMembers = createMemberReader(database, namespaceId);
  const readSpanned = createSpannedReader(database, namespaceId);
  const names = createServiceNames(database, namespaceId);
  const host = openHostSide();
  const ingress = createIngressGuard(database);
  const problems = createServiceProblems(log);
  let waiting = true;

  const failed = (service: string, why: string, code: string): void => {
    waiting = true;
    problems.notInForce(service, why, code);
  };
  const attempt = async <T>(service: string, act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act();
    } catch (thrown) {
      failed(service, reasonOf(thrown), isPortcullisError(thrown) ? thrown.code : 'NETWORK_SERVICES_FAILED');
      return undefined;
    }
  };
  const addresses = createServiceAddresses({ leases, host, log, isEnding, attempt });

  const once = async (): Promise<void> => {
    waiting = false;
    problems.beginLook();
    const services = servicesOf(readMembers(), readSpanned());
    const balanced: Service[] = [];
    const scoped: Scoped[] = [];
    const found: { service: NetworkService; given: readonly NetworkName[] }[] = [];
    for (const service of services) {
      const isVirtual = modeOf(service) === 'vip';
      const made = isVirtual ? await addresses.answer(service) : { own: [], scoped: [] };
      if (made === undefined) continue;
      if (isCrowded(service)) problems.crowded(serviceNameOf(service));
      const guard = ingress.of(service);
      guard.problems.forEach((why) => problems.portClosed(serviceNameOf(service), why));
      append(balanced, balancedServices(service, made.own, namespaceId, guard.isOpen));
      append(scoped, made.scoped);
      found.push({ service, given: serviceNames(service, made.own) });
    }
    // Other networks are kept from an address from before it is balanced until it is given back.
    addresses.scope(scoped);
    const refused = new Map(apply(balanced).map((each) => [each.name, each]));
    for (const [service, { code, field, why }] of refused) failed(service, `${field}: ${why}`, code);
    const named = found.filter(({ given }) => given.length > 0);
    // A refused service keeps its previous state and its names.
    for (const { service, given } of named)
      if (!refused.has(serviceNameOf(service))) names.write(service, given);
    services.forEach((service) => names.removeRefused(service));
    names.retain(named.map(({ service }) => service));
    // After the last member left, first the names go, then connections end, and then the address is given
    // back.
    if (await addresses.giveBack(services)) waiting = true;
    addresses.scope(scoped);
    problems.endLook();
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
    isWaiting: () => waiting,
    close() {
      host.close();
      leases.close();
    },
  };
}
