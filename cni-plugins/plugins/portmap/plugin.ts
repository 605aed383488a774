import { formatIp, parseIpOrMapped } from '../../../base/addresses/index.ts';
import type { Fields } from '../../spec/fields.ts';
import { distinctMappings } from '../../spec/host-ports.ts';
import type { PortMapping } from '../../types.ts';
import type { Plan, Plugin } from '../contract/contract.ts';
import { hostInterfaces } from '../interface/previous.ts';
import type { HostPorts } from '../nat/host-ports-type.ts';
import { readConditions } from './conditions.ts';

/**
 * Ports of the host that lead into the pod: `portmap` of the upstream plugins, on nf_tables. It needs only
 * the addresses of prevResult, so it works with an interface that another program made. Source:
 * plugins/meta/portmap of containernetworking/plugins; CNI conventions.
 */
interface PortmapConfig {
  readonly mappings: readonly PortMapping[];
  readonly masquerade: HostPorts['masquerade'];
  readonly conditions?: NonNullable<HostPorts['conditions']>;
}

const protocols: readonly string[] = ['tcp', 'udp', 'sctp'];

function readMapping(fields: Fields): PortMapping[] {
  const hostPort = fields.whole('hostPort') ?? 0;
  const containerPort = fields.whole('containerPort') ?? 0;
  const protocol = (fields.text('protocol') ?? 'tcp').toLowerCase();
  const hostIp = fields.text('hostIP') ?? '';
  const hostAddress = parseIpOrMapped(hostIp);
  const before = fields.hasProblems();
  // A container port without a host port: there is nothing to forward.
  if (hostPort === 0 && !before) return [];
  for (const [name, port] of [
    ['hostPort', hostPort],
    ['containerPort', containerPort],
  ] as const)
    if (port < 1 || port > 65535) fields.problem(name, `${port} is not a port: 1 to 65535`);
  if (!protocols.includes(protocol === '' ? 'tcp' : protocol))
    fields.problem('protocol', `${JSON.stringify(protocol)} is not tcp, udp or sctp`);
  if (hostIp !== '' && hostAddress === undefined)
    fields.problem('hostIP', `${JSON.stringify(hostIp)} is not an IP address`);
  return [
    {
      protocol: (protocol === '' ? 'tcp' : protocol) as PortMapping['protocol'],
      hostPort,
      containerPort,
      ...(hostAddress !== undefined && { hostIp: formatIp(hostAddress) }),
    },
  ];
}

/** Reads the capability `portMappings`: mappings with a host port, without duplicates. */
export function readMappings(config: Fields): PortMapping[] {
  const runtime = config.object('runtimeConfig');
  return distinctMappings((runtime?.objects('portMappings') ?? []).flatMap(readMapping), (mapping) =>
    runtime?.problem('portMappings', `host port ${mapping.hostPort}/${mapping.protocol} is mapped twice`),
  );
}

function refuse(config: Fields): void {
  const backend = config.text('backend') ?? '';
  if (backend !== '' && backend !== 'nftables') config.unsupported('backend', 'nftables is');
  const mark = config.text('externalSetMarkChain') ?? '';
  if (mark !== '') config.unsupported('externalSetMarkChain', 'there is no iptables chain to call');
  const bit = config.whole('markMasqBit') ?? 0;
  if (bit < 0 || bit > 31) config.problem('markMasqBit', `${bit} is not a bit of a mark: 0 to 31`);
}

export const portmap: Plugin<PortmapConfig> = {
  type: 'portmap',
  role: 'chained',
  capabilities: ['portMappings'],
  read(config) {
    refuse(config);
    const mappings = readMappings(config);
    const snat = config.flag('snat', true);
    const all = config.flag('masqAll', false);
    const four = readConditions(config, 'conditionsV4', 4);
    const six = readConditions(config, 'conditionsV6', 6);
    return {
      mappings,
      masquerade: snat ? (all ? 'all' : 'near') : 'none',
      ...(four.length + six.length > 0 && { conditions: { 4: four, 6: six } }),
    };
  },
  plan({ mappings, masquerade, conditions }, { prevResult }): Plan {
    const result = prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} };
    const inPod = result.ips.filter(
      ({ interface: index }) => index === undefined || (result.interfaces[index]?.sandbox ?? '') !== '',
    );
    const addresses = inPod.map(({ address }) => address);
    const resource: HostPorts = {
      kind: 'host-ports',
      mappings,
      addresses,
      hostInterfaces: hostInterfaces(result),
      masquerade,
      ...(conditions === undefined ? {} : { conditions }),
    };
    return { resources: mappings.length === 0 || addresses.length === 0 ? [] : [resource], result };
  },
};
