import { parseIp } from '../../spec/address.ts';
import type { Backend, Destination, Family, Service, ServicePort, VirtualServer } from '../model.ts';
import { rangesOfFamily } from '../source-ranges/ranges.ts';

/** Of a backend, beside its description. */
export interface BackendStanding {
  /** By an operator's word. */
  readonly drained: boolean;
  /** By its health checks. */
  readonly unwell: boolean;
}

/** A destination as the service has it now. */
export interface Placed extends Destination {
  /** It drains, or is unwell: what stands there ends within the grace. */
  readonly ending: boolean;
}

/** A virtual server whose destinations say which of them end. */
export type Expanded = Omit<VirtualServer, 'destinations'> & { readonly destinations: readonly Placed[] };

const familyOf = (address: string): Family => parseIp(address)?.family ?? 4;

/**
 * Every address, protocol and port of a service, of either family. Pure. Where all backends of a virtual server that could take connections
 * are unwell, all of them do: a check that is wrong then ends nothing that works.
 */
export function expand(service: Service, standing: (backend: Backend) => BackendStanding): Expanded[] {
  const backends = service.backends.map((backend) => ({ backend, family: familyOf(backend.address), ...standing(backend) }));
  const place = (port: ServicePort, family: Family): Placed[] => {
    const own = backends.filter((each) => each.family === family && each.backend.without?.includes(port.name) !== true);
    const takes = own.filter(
      ({ backend, drained }) =>
        !drained && backend.draining !== true && backend.weight !== 0 && backend.quiescentPorts?.includes(port.name) !== true,
    );
    const allUnwell = takes.every(({ unwell }) => unwell);
    return own.map(({ backend, drained, unwell }) => {
      const ending = drained || backend.draining === true || (unwell && !allUnwell);
      return {
        address: backend.address,
        port: portAt(backend, port),
        weight: ending || backend.quiescentPorts?.includes(port.name) === true ? 0 : (backend.weight ?? 1),
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
  const places = new Map<string, Placed[]>();
  /** Addresses of one family share what stands behind a port. */
  const placed = (port: ServicePort, family: Family): Placed[] => {
    const key = `${family} ${port.name}`;
    const found = places.get(key) ?? place(port, family);
    places.set(key, found);
    return found;
  };
  const server = (port: ServicePort, kind: VirtualServer['kind'], family: Family, address?: string): Expanded => ({
    ...common,
    portName: port.name,
    kind,
    family,
    ...(address !== undefined && { address }),
    protocol: port.protocol,
    port: (kind === 'node' ? port.nodePort : undefined) ?? port.port,
    destinations: placed(port, family),
  });
  const families = nodeFamiliesOf(service);
  const balanced = (port: ServicePort, address: string): Expanded => {
    const sourceRanges = rangesOfFamily(service.loadBalancerSourceRanges, familyOf(address));
    return { ...server(port, 'external', familyOf(address), address), ...(sourceRanges !== undefined && { sourceRanges }) };
  };
  return service.ports.flatMap((port) => [
    ...service.addresses.map((address) => server(port, 'virtual', familyOf(address), address)),
    ...service.externalAddresses.map((address) => server(port, 'external', familyOf(address), address)),
    ...(service.loadBalancerAddresses ?? []).map((address) => balanced(port, address)),
    ...(port.nodePort === undefined ? [] : families.map((family) => server(port, 'node', family))),
  ]);
}

/** Where a backend serves a port of its service. */
export function portAt({ ports = {} }: Pick<Backend, 'ports'>, { name, targetPort }: Pick<ServicePort, 'name' | 'targetPort'>): number {
  // A port may be called `constructor`, which every object has.
  return (Object.hasOwn(ports, name) ? ports[name] : undefined) ?? targetPort;
}

/** A node port is of the families that the service has elsewhere: of its addresses, else of its backends, else of both. */
function nodeFamiliesOf({ addresses, backends }: Service): readonly Family[] {
  const said = addresses.length > 0 ? addresses : backends.map(({ address }) => address);
  const families = ([4, 6] as const).filter((family) => said.some((address) => familyOf(address) === family));
  return families.length > 0 ? families : [4, 6];
}
