import type { CnmConfig } from '../../plugins/cnm/config.ts';
import { netLabels } from '../protocol/protocol.ts';

const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Describes ports as docker does for `-p`. */
export const portOptions = ({ portMappings }: CnmConfig): object => ({
  [netLabels.exposedPorts]: portMappings.map(({ protocol, containerPort }) => ({
    Proto: protocols[protocol],
    Port: containerPort,
  })),
  [netLabels.portMap]: portMappings.map(({ protocol, containerPort, hostPort, hostIp = '' }) => ({
    Proto: protocols[protocol],
    IP: '',
    Port: containerPort,
    HostIP: hostIp,
    HostPort: hostPort,
    HostPortEnd: hostPort,
  })),
});

/** Go's net.HardwareAddr is a byte slice, which JSON encodes in base64. */
export const macBase64 = (mac: string): string =>
  Buffer.from(mac.replaceAll(':', ''), 'hex').toString('base64');
