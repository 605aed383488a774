import { PortcullisError } from '../../base/errors/index.ts';
import { membershipLabel, parseMemberships } from '../../cni-plugins/index.ts';
import type { PortMapping as Forward } from '../../cni-plugins/index.ts';
import type { PodSandboxConfig, PortMapping } from '../cri/contract/contract.types.ts';

const protocols: readonly (Forward['protocol'] | undefined)[] = ['tcp', 'udp', 'sctp'];

/**
 * Returns the host ports of a pod; a mapping without a host port only documents a port (cri-api PortMapping).
 * @throws PortcullisError RUNTIME_BAD_PORT
 */
export function toPortMappings(asked: readonly PortMapping[]): Forward[] {
  return asked
    .filter((mapping) => mapping.hostPort !== 0)
    .map((mapping) => {
      const protocol = protocols[mapping.protocol];
      const legal = protocol !== undefined && isPort(mapping.hostPort) && isPort(mapping.containerPort);
      if (!legal) {
        throw new PortcullisError({
          code: 'RUNTIME_BAD_PORT',
          kind: 'invalid',
          attempted: 'map host port',
          on: `${mapping.hostPort} to ${mapping.containerPort}`,
          why: 'a port is not between 1 and 65535, or the protocol is unknown',
          fix: 'correct port_mappings',
        });
      }
      return {
        protocol,
        hostPort: mapping.hostPort,
        containerPort: mapping.containerPort,
        ...(mapping.hostIp !== '' && { hostIp: mapping.hostIp }),
      };
    });
}

/**
 * Returns the ports of the host that lead to a pod: its host ports, and the ingress ports of the services
 * that it joins. As `8080/tcp`, each once.
 */
export function hostPortsOf({
  portMappings = [],
  annotations = {},
}: Partial<Pick<PodSandboxConfig, 'annotations' | 'portMappings'>>): string[] {
  const services = annotations[membershipLabel];
  const ingress =
    services === undefined
      ? []
      : parseMemberships(services, membershipLabel).flatMap(({ ingressPorts }) => ingressPorts);
  const mapped = toPortMappings(portMappings).map(({ hostPort, protocol }) => ({ port: hostPort, protocol }));
  return [...new Set([...mapped, ...ingress].map(({ port, protocol }) => `${port}/${protocol}`))];
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65_535;
}
