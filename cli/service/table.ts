import type { ServiceList } from '../../cni-plugins/index.ts';
import { table } from '../output/table.ts';

type Listed = ServiceList['services'][number];

/** Formats one row per backend of each port; a service without backends gets one row. */
export function serviceTable(services: readonly Listed[]): string {
  const rows = services.flatMap((service) => {
    const head = [
      service.name,
      service.source ?? 'removed',
      service.balancer,
      service.scheduler,
      addressesOf(service),
    ];
    if (service.refused !== undefined) return [[...head, '', '', '', `refused: ${service.refused}`, '', '']];
    if (service.backends.length === 0) return [[...head, portsOf(service), '', '', 'no backend', '', '']];
    return service.backends.map((backend, index) => [
      ...(index === 0 ? head : head.map(() => '')),
      portOf(service, backend.portName),
      backend.address.includes(':')
        ? `[${backend.address}]:${backend.port}`
        : `${backend.address}:${backend.port}`,
      String(backend.weight),
      backend.until === undefined ? backend.state : `${backend.state} until ${backend.until}`,
      backend.why === undefined ? backend.health : `${backend.health} (${backend.why})`,
      backend.connections === undefined
        ? String(backend.active)
        : `${backend.active} of ${backend.connections}`,
    ]);
  });
  const header = [
    'SERVICE',
    'SOURCE',
    'BALANCER',
    'SCHEDULER',
    'ADDRESSES',
    'PORT',
    'BACKEND',
    'WEIGHT',
    'STATE',
    'HEALTH',
    'CONNECTIONS',
  ];
  return table(header, rows);
}

const addressesOf = ({ addresses, externalAddresses, loadBalancerAddresses = [] }: Listed): string =>
  [...addresses, ...externalAddresses, ...loadBalancerAddresses].join(', ');

const portText = ({ port, protocol, nodePort }: Listed['ports'][number]): string =>
  `${port}/${protocol}${nodePort === undefined ? '' : ` (node ${nodePort})`}`;

const portsOf = ({ ports }: Listed): string => ports.map(portText).join(', ');

function portOf({ ports }: Listed, name: string): string {
  const port = ports.find((each) => each.name === name);
  return port === undefined ? name : portText(port);
}
