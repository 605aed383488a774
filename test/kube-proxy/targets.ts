import type { Objects } from './changes.ts';
import { gatewayAddresses, nodeAddresses } from './layout.ts';
import type { Target } from './end.ts';
import type { ServiceObject } from './objects.ts';

/** Kinds of addresses of a Service. */
export type AddressKind = 'cluster' | 'external' | 'load balancer' | 'node' | 'unserved';

export interface ServiceTarget extends Target {
  readonly of: AddressKind;
  readonly service: ServiceObject;
  /** No service that a proxy serves has it any more. */
  readonly isFormer?: true;
}

/** A port of cluster addresses that no service has. */
const unservedPort = 9;

export const targetId = ({ protocol, address, port }: Target): string => `${protocol} ${address} ${port}`;

/** Returns every address and port at which a client could try to reach the services. */
export function targetsOf({ services }: Objects): ServiceTarget[] {
  return [...services.values()].flatMap((service): ServiceTarget[] => {
    const { spec, status } = service;
    const at = (
      of: AddressKind,
      addresses: readonly string[],
      number = (port: { port: number }) => port.port,
    ) =>
      addresses.flatMap((address) =>
        spec.ports.map((port): ServiceTarget => ({
          protocol: port.protocol === 'TCP' ? 'tcp' : 'udp',
          address,
          port: number(port),
          of,
          service,
        })),
      );
    const clusterIPs = (spec.clusterIPs ?? []).filter((address) => address !== 'None');
    const ingress = (status.loadBalancer.ingress ?? []).flatMap(({ ip }) => ip ?? []);
    const unserved = clusterIPs.map((address): ServiceTarget => ({
      protocol: 'tcp',
      address,
      port: unservedPort,
      of: 'unserved',
      service,
    }));
    const nodePorts = spec.ports.flatMap(({ nodePort, ...port }) =>
      nodePort === undefined ? [] : [{ ...port, port: nodePort }],
    );
    const ofNode = [...Object.values(nodeAddresses), ...Object.values(gatewayAddresses)].flatMap((address) =>
      nodePorts.map(({ port, protocol }): ServiceTarget => ({
        protocol: protocol === 'TCP' ? 'tcp' : 'udp',
        address,
        port,
        of: 'node',
        service,
      })),
    );
    return [
      ...at('cluster', clusterIPs),
      ...unserved,
      ...at('external', spec.externalIPs ?? []),
      ...at('load balancer', ingress),
      ...ofNode,
    ];
  });
}

/**
 * Returns a function for the targets of each step in turn. It marks those whose Service went to another proxy
 * (label `service-proxy-name`) and whose address was served before.
 */
export function createFormerMarks(): (targets: readonly ServiceTarget[]) => readonly ServiceTarget[] {
  const served = new Set<string>();
  const isServed = ({ service: { metadata } }: ServiceTarget): boolean =>
    metadata.labels?.['service.kubernetes.io/service-proxy-name'] === undefined;
  return (targets) => {
    for (const target of targets) if (isServed(target)) served.add(target.address);
    return targets.map((target) =>
      isServed(target) || !served.has(target.address) ? target : { ...target, isFormer: true },
    );
  };
}
