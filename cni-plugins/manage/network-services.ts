import type { MemberDocument } from '../attach/memberships.ts';
import type { openReadOnly } from '../../base/storage/index.ts';

/** Services of networks, as they are written down. */
export interface ReportedNetworkService {
  readonly name: string;
  /** `vip`: one virtual address, balanced; `dnsrr`: its name has the addresses of all members. */
  readonly mode: 'vip' | 'dnsrr';
  /** Virtual ones; none: it has none yet, or none at all. */
  readonly addresses: readonly string[];
  /** `8080:80/tcp` of each member, at every address of the host. */
  readonly ingressPorts: readonly string[];
  readonly members: readonly { readonly id: string; readonly addresses: readonly string[] }[];
}

/** By network. */
export function readNetworkServices(database: ReturnType<typeof openReadOnly>): ReadonlyMap<string, readonly ReportedNetworkService[]> {
  const tables = database.get("SELECT count(*) AS found FROM sqlite_schema WHERE name IN ('service_member', 'network_service')");
  if (Number(tables?.['found']) < 2) return new Map();
  const virtual = new Map<string, readonly string[]>();
  for (const row of database.each('SELECT network, service, document FROM network_service'))
    virtual.set(
      `${String(row['network'])}/${String(row['service'])}`,
      (JSON.parse(String(row['document'])) as { addresses: string[] }).addresses,
    );
  const members = [
    ...database.each(
      `SELECT service_member.network AS network, service, container_id, document FROM service_member JOIN attachment ON number = attachment
       ORDER BY service_member.network, service, number`,
    ),
  ].map((row) => ({
    network: String(row['network']),
    service: String(row['service']),
    id: String(row['container_id']),
    document: JSON.parse(String(row['document'])) as MemberDocument,
  }));
  const groups = Map.groupBy(members, ({ network, service }) => `${network}/${service}`);
  const services = [...groups].map(([key, own]) => ({
    network: own[0]?.network ?? '',
    service: {
      name: own[0]?.service ?? '',
      mode: own[0]?.document.mode ?? 'vip',
      addresses: virtual.get(key) ?? [],
      ingressPorts: [
        ...new Set(
          own.flatMap(({ document }) =>
            document.ingressPorts.map(
              ({ port, targetPort, protocol }) => `${port}${port === targetPort ? '' : `:${targetPort}`}/${protocol}`,
            ),
          ),
        ),
      ],
      members: own.map(({ id, document: { addresses } }) => ({ id, addresses })),
    },
  }));
  return new Map(
    [...Map.groupBy(services, ({ network }) => network)].map(([network, all]) => [network, all.map(({ service }) => service)]),
  );
}
