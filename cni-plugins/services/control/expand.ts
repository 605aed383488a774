import type { Backend, Destination, Family, Service, ServicePort, VirtualServer } from '../model/model.ts';
import { portAt } from '../model/port-at.ts';
import { rangesOfFamily } from '../source-ranges/ranges.ts';

/** The state of a backend that is not part of its description. */
export interface BackendStanding {
  /** An operator drained the backend. */
  readonly drained: boolean;
  /** The health checks of the backend failed. */
  readonly unhealthy: boolean;
}

/** A destination as the service has it now. */
export interface Placed extends Destination {
  /** The backend drains or is unhealthy: its established connections end within the grace period. */
  readonly ending: boolean;
}

/** A virtual server whose destinations say whether they are ending. */
export type Expanded = Omit<VirtualServer, 'destinations'> & { readonly destinations: readonly Placed[] };

/** The addresses of an admitted service are valid. Parsing them again would take a fifth of the time here. */
const familyOf = (address: string): Family => (address.includes(':') ? 6 : 4);

/** Whether the backend serves each port of its service at its usual number, with the usual weight. */
const isUsual = ({ ports, without, quiescentPorts, insidePorts, weight, draining }: Backend): boolean =>
  ports === undefined &&
  without === undefined &&
  quiescentPorts === undefined &&
  insidePorts === undefined &&
  weight === undefined &&
  draining !== true;

const ofFamily = (family: Family, texts: readonly string[] = []): readonly string[] =>
  texts.filter((text) => familyOf(text) === family);

/**
 * Returns one virtual server for each address, protocol and port of a service, of either family. If all
 * backends of a virtual server that could take connections are unhealthy, all of them take connections, so
 * that a faulty check does not stop a working service. Pure.
 */
export function expand(service: Service, existing: (backend: Backend) => BackendStanding): Expanded[] {
  const backends = service.backends.map((backend) => {
    const { drained, unhealthy } = existing(backend);
    return { backend, family: familyOf(backend.address), drained, unhealthy };
  });
  const areUsual = backends.every(
    ({ backend, drained, unhealthy }) => !drained && !unhealthy && isUsual(backend),
  );
  const isSplit = service.insideSources !== undefined;
  const place = (port: ServicePort, family: Family): Placed[] => {
    if (areUsual) {
      const own = backends.filter((each) => each.family === family);
      return own.map(({ backend: { address } }) => ({
        address,
        port: port.targetPort,
        weight: 1,
        ending: false,
      }));
    }
    const own = backends.filter(
      (each) => each.family === family && each.backend.without?.includes(port.name) !== true,
    );
    const takes = own.filter(
      ({ backend, drained }) =>
        !drained &&
        backend.draining !== true &&
        backend.weight !== 0 &&
        (backend.quiescentPorts?.includes(port.name) !== true ||
          backend.insidePorts?.includes(port.name) === true),
    );
    const allUnhealthy = takes.every(({ unhealthy }) => unhealthy);
    return own.map(({ backend, drained, unhealthy }) => {
      const ending = drained || backend.draining === true || (unhealthy && !allUnhealthy);
      const described = ending ? 0 : (backend.weight ?? 1);
      const weight = backend.quiescentPorts?.includes(port.name) === true ? 0 : described;
      const insideWeight =
        backend.insidePorts === undefined ? weight : backend.insidePorts.includes(port.name) ? described : 0;
      return {
        address: backend.address,
        port: portAt(backend, port),
        weight,
        ...(isSplit && insideWeight !== weight && { insideWeight }),
        ending,
      };
    });
  };
  const { name, scheduler, clientAffinity, persistenceSeconds, forwarding, sourceAddress } = service;
  const common = {
    service: name,
    scheduler,
    clientAffinity,
    ...(persistenceSeconds !== undefined && { persistenceSeconds }),
    forwarding,
    sourceAddress,
  };
  const servers: Expanded[] = [];
  for (const described of service.ports) {
    /** Addresses of one family share the destinations of a port. */
    const placed: Partial<Record<Family, Placed[]>> = {};
    for (const { kind, family, address, protocol, port, isBalanced } of placesOf(service, described)) {
      const sourceRanges =
        isBalanced === true ? rangesOfFamily(service.loadBalancerSourceRanges, family) : undefined;
      servers.push({
        ...common,
        portName: described.name,
        kind,
        family,
        ...(address !== undefined && { address }),
        protocol,
        port,
        destinations: (placed[family] ??= place(described, family)),
        ...(service.rememberedAt !== undefined && memoryOf(service, described, family)),
        ...(sourceRanges !== undefined && { sourceRanges }),
        ...(isSplit && { insideSources: ofFamily(family, service.insideSources) }),
        ...(described.elsewhere?.includes(family) === true && { drops: true as const }),
      });
    }
  }
  return servers;
}

/** Returns with which servers a server shares the clients that it remembers. */
function memoryOf(
  { rememberedAt, insideRememberedAt }: Service,
  { port }: ServicePort,
  family: Family,
): Pick<VirtualServer, 'insideRemembersAs' | 'remembersAs'> {
  const [address] = ofFamily(family, rememberedAt);
  const [inside] = ofFamily(family, insideRememberedAt);
  return {
    ...(address !== undefined && { remembersAs: { address, port } }),
    ...(inside !== undefined && { insideRemembersAs: { address: inside, port } }),
  };
}

/** The place of a virtual server. `isBalanced`: at a load balancer address, which has source ranges. */
export interface ServerPlace extends Pick<
  VirtualServer,
  'address' | 'family' | 'kind' | 'port' | 'protocol'
> {
  readonly isBalanced?: true;
}

/** Returns where a service is served for one of its ports: one virtual server for each place. Pure. */
export function placesOf(service: Service, { protocol, port, nodePort }: ServicePort): ServerPlace[] {
  const at = (kind: VirtualServer['kind'], address: string, number = port): ServerPlace => ({
    kind,
    family: familyOf(address),
    address,
    protocol,
    port: number,
  });
  const places = service.addresses.map((address) => at('virtual', address));
  for (const address of service.externalAddresses) places.push(at('external', address));
  for (const address of service.loadBalancerAddresses ?? [])
    places.push({ ...at('external', address), isBalanced: true });
  if (nodePort === undefined) return places;
  const families = nodeFamiliesOf(service);
  if (service.nodeAddresses === undefined)
    for (const family of families) places.push({ kind: 'node', family, protocol, port: nodePort });
  else
    for (const address of service.nodeAddresses)
      if (families.includes(familyOf(address))) places.push(at('external', address, nodePort));
  return places;
}

/** Returns the families of the service's node ports: see {@link Service.nodeFamilies}. */
function nodeFamiliesOf({ addresses, backends, nodeFamilies }: Service): readonly Family[] {
  if (nodeFamilies !== undefined) return nodeFamilies;
  const said = addresses.length > 0 ? addresses : backends.map(({ address }) => address);
  const families = ([4, 6] as const).filter((family) => said.some((address) => familyOf(address) === family));
  return families.length > 0 ? families : [4, 6];
}
