import { PortcullisError } from '../../../base/errors/index.ts';
import { readDestination, readService, isRefusal } from '../../../base/netlink/index.ts';
import type {
  IpvsDestination,
  IpvsRequests,
  IpvsService,
  IpvsServiceKey,
  ListedDestination,
  NetlinkSocket,
  Request,
} from '../../../base/netlink/index.ts';
import type { ServiceLink } from './link.ts';
import { destinationChanges, destinationId, isOurMark, sameService } from './plan.ts';

/** IPVS in this namespace: reads it, and brings it to the wanted state one service at a time. */
export interface IpvsKernel {
  services(): IpvsService[];
  service(key: IpvsServiceKey): IpvsService | undefined;
  destinations(key: IpvsServiceKey): ListedDestination[];
  /**
   * Changes what differs. Returns whether anything differed.
   * @param standing the service as IPVS has it, if the caller knows
   */
  put(service: IpvsService, destinations: readonly IpvsDestination[], existing?: IpvsService): boolean;
  /** Sets the weight of every destination to 0. Established connections go on. */
  refuseNew(key: IpvsServiceKey): void;
  /** Deletes a service. A missing service is not an error. */
  deleteService(key: IpvsServiceKey): void;
  /**
   * Deletes a destination. Its connections end with it (`expire_nodest_conn`). A missing destination is not
   * an error.
   */
  deleteDestination(key: IpvsServiceKey, destination: Pick<IpvsDestination, 'address' | 'port'>): void;
}

export function openIpvsKernel(generic: NetlinkSocket, ipvs: IpvsRequests): IpvsKernel {
  const destinations = (key: IpvsServiceKey): ListedDestination[] =>
    generic.dump(ipvs.listDestinations(key)).flatMap((message) => readDestination(message, key.family) ?? []);
  const service = (key: IpvsServiceKey): IpvsService | undefined => {
    const answer = generic.find(ipvs.getService(key), 'ESRCH');
    return answer === undefined ? undefined : readService(answer);
  };
  const tolerant = (request: Request, ...fine: readonly string[]): void => {
    const [refusal] = generic.send([request]);
    if (refusal !== undefined && !isRefusal(refusal.error, ...fine)) throw refusal.error;
  };
  return {
    services: () => generic.dump(ipvs.listServices()).flatMap((message) => readService(message) ?? []),
    service,
    destinations,
    put(wanted, all, existing = service(wanted.key)) {
      const { add, set, remove } = destinationChanges(
        unique(all),
        existing === undefined ? [] : destinations(wanted.key),
      );
      const requests = [
        ...(existing === undefined
          ? [ipvs.newService(wanted)]
          : sameService(existing, wanted)
            ? []
            : [ipvs.setService(wanted)]),
        ...add.map((each) => ipvs.newDestination(wanted.key, each)),
        ...set.map((each) => ipvs.setDestination(wanted.key, each)),
        ...remove.map((each) => ipvs.deleteDestination(wanted.key, each)),
      ];
      try {
        generic.run(requests);
      } catch (thrown) {
        // A service that does not exist, and one that gets another scheduler, need it before anything else.
        if (isRefusal(thrown, 'ENOENT') && existing?.scheduler !== wanted.scheduler)
          throw schedulerMissing(wanted.scheduler);
        throw thrown;
      }
      return requests.length > 0;
    },
    refuseNew: (key) =>
      generic.run(
        destinations(key)
          .filter(({ weight }) => weight > 0)
          .map((each) => ipvs.setDestination(key, { ...each, weight: 0 })),
      ),
    deleteService: (key) => tolerant(ipvs.deleteService(key), 'ESRCH'),
    deleteDestination: (key, destination) =>
      tolerant(ipvs.deleteDestination(key, destination), 'ESRCH', 'ENOENT'),
  };
}

/** Returns our services: those at an address of our link, and those for a mark of ours. */
export function ourServices(
  kernel: Pick<IpvsKernel, 'services'>,
  link: Pick<ServiceLink, 'addresses'>,
): IpvsService[] {
  const held = new Set(link.addresses().map((address) => address.toString('hex')));
  return kernel
    .services()
    .filter(({ key }) =>
      'mark' in key ? isOurMark(key.mark) : held.has(Buffer.from(key.address).toString('hex')),
    );
}

const schedulerMissing = (scheduler: string): PortcullisError =>
  new PortcullisError({
    code: 'NETWORK_IPVS_SCHEDULER_MISSING',
    kind: 'precondition',
    attempted: 'add an IPVS service',
    on: `scheduler ${scheduler}`,
    why: 'the kernel does not have this scheduler and could not load it',
    fix: `modprobe ip_vs_${scheduler}, choose another scheduler, or use \`--backend nftables\``,
  });

/** Keeps each address and port once, with the last weight, because IPVS refuses duplicates. */
const unique = (all: readonly IpvsDestination[]): IpvsDestination[] => [
  ...new Map(all.map((each) => [destinationId(each), each])).values(),
];
