import type { NetworkDatabase } from '../../database/database.ts';
import { hostIpOf, overlap } from '../../spec/host-ports.ts';
import type { PortMapping } from '../../types.ts';
import { portTaken } from '../protocol/failures.ts';
import type { PortBinding } from '../protocol/protocol.ts';
import type { CnmEndpoint } from './records.ts';
import { protocolOf } from '../protocol/requests.ts';

/** Chooses the host ports of bindings. */

/** The same range as docker's own allocator uses, within the kernel's ephemeral ports. */
const anyPort = { low: 49153, high: 60999 };

export interface TakenPort {
  readonly protocol: PortMapping['protocol'];
  readonly port: number;
  /** Empty: every address. */
  readonly hostIp: string;
}

/**
 * Returns the host ports that others hold in the namespace: endpoints, pods of our runtime, CNI plugins, and
 * services as node ports.
 */
export function takenPorts(
  { db }: Pick<NetworkDatabase, 'db'>,
  namespaceId: string,
  endpoints: readonly CnmEndpoint[],
  except: string,
): TakenPort[] {
  const rows = db
    .prepare(
      `SELECT protocol, port, host_ip AS hostIp FROM host_port WHERE realm = ?1
       UNION ALL SELECT protocol, port, '' FROM service_node_port WHERE realm = ?1`,
    )
    .all(namespaceId) as unknown as TakenPort[];
  const others = endpoints.filter(
    // A damaged record names a port that is not its own.
    ({ id, spec, ...endpoint }) =>
      endpoint.namespaceId === namespaceId && id !== except && spec.damaged !== true,
  );
  const ofEndpoints = others.flatMap(({ spec }) => spec.ports?.mappings ?? []);
  return [
    ...rows,
    ...ofEndpoints.map((mapping) => ({
      protocol: mapping.protocol,
      port: mapping.hostPort,
      hostIp: hostIpOf(mapping),
    })),
  ];
}

/**
 * Chooses for each binding the first port of its range that is free.
 * @param isListenedAt whether a program of the host uses the port
 * @throws NETWORK_HOST_PORT_TAKEN
 */
export function choosePorts(
  bindings: readonly Required<PortBinding>[],
  taken: readonly TakenPort[],
  isListenedAt: (port: TakenPort) => boolean,
): PortMapping[] {
  const held: TakenPort[] = [...taken];
  return bindings.map((binding) => {
    const protocol = protocolOf(binding);
    const hostIp = hostIpOf({ hostIp: binding.HostIP });
    const { low, high } =
      binding.HostPort === 0 ? anyPort : { low: binding.HostPort, high: binding.HostPortEnd };
    const isHeld = (port: number): boolean =>
      held.some((each) => each.port === port && each.protocol === protocol && overlap(each.hostIp, hostIp));
    let listened = false;
    for (let port = low; port <= high; port += 1) {
      if (isHeld(port)) continue;
      if (isListenedAt({ protocol, port, hostIp })) {
        listened = true;
        continue;
      }
      held.push({ protocol, port, hostIp });
      return { protocol, containerPort: binding.Port, hostPort: port, ...(hostIp === '' ? {} : { hostIp }) };
    }
    const range = low === high ? `${low}/${protocol}` : `${low}-${high}/${protocol}`;
    const one = listened ? 'a program of the host listens there' : 'another endpoint, pod or service uses it';
    throw portTaken(
      range,
      low === high ? one : 'all of them are used by endpoints, pods, services and programs of the host',
    );
  });
}
