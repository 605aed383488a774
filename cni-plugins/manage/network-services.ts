import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { memberDocumentIn } from '../database/memberships.ts';
import type { MemberDocument } from '../database/memberships.ts';
import type { NetworkRecords } from './network-records.ts';
import type { SpannedMember, SpannedService } from '../services/index.ts';

/** A service of a network, as recorded in the database. */
export interface ReportedNetworkService {
  readonly name: string;
  /**
   * `vip`: one virtual address that is load-balanced; `dnsrr`: the name resolves to the addresses of all
   * members.
   */
  readonly mode: 'vip' | 'dnsrr';
  /** Virtual addresses. Empty if the service has none yet, or never has any. */
  readonly addresses: readonly string[];
  /** `8080:80/tcp` of each member, at every address of the host. */
  readonly ingressPorts: readonly string[];
  readonly members: readonly ReportedMember[];
}

interface ReportedMember {
  readonly id: string;
  readonly addresses: readonly string[];
  /** For a network that spans hosts: the host of the member. Absent: this host. */
  readonly host?: string;
}

/** A member as recorded, on any host. */
interface Row {
  readonly network: string;
  readonly service: string;
  readonly member: ReportedMember;
  readonly mode: 'vip' | 'dnsrr';
  readonly ingressPorts: MemberDocument['ingressPorts'];
}

/** Returns the services by network. */
export function readNetworkServices(
  database: NetworkRecords,
): ReadonlyMap<string, readonly ReportedNetworkService[]> {
  if (!hasTables(database, ['service_member', 'network_service'])) return new Map();
  const virtual = new Map<string, readonly string[]>();
  for (const row of database.each('SELECT network, service, document FROM network_service'))
    virtual.set(
      `${String(row['network'])}/${String(row['service'])}`,
      // Without the addresses of a damaged row.
      attempt(() => (parseJson(String(row['document'])) as { addresses: string[] }).addresses) ?? [],
    );
  const spanned = hasTables(database, ['spanned_service', 'spanned_member'])
    ? readSpanned(database)
    : { services: new Map<string, SpannedService>(), members: [] };
  // A local member that joined in a mode other than the one agreed by all hosts does not count as a member.
  const here = membersHere(database).filter(
    ({ network, service, mode }) => (spanned.services.get(`${network}/${service}`)?.mode ?? mode) === mode,
  );
  const groups = Map.groupBy(
    [...here, ...spanned.members],
    ({ network, service }) => `${network}/${service}`,
  );
  const services = [...groups].map(([key, own]) => ({
    network: own[0]?.network ?? '',
    service: {
      name: own[0]?.service ?? '',
      mode: own[0]?.mode ?? 'vip',
      addresses: spanned.services.get(key)?.addresses ?? virtual.get(key) ?? [],
      ingressPorts: [
        ...new Set(
          own.flatMap(({ ingressPorts }) =>
            ingressPorts.map(
              ({ port, targetPort, protocol }) =>
                `${port}${port === targetPort ? '' : `:${targetPort}`}/${protocol}`,
            ),
          ),
        ),
      ],
      members: own.map(({ member }) => member),
    },
  }));
  return new Map(
    [...Map.groupBy(services, ({ network }) => network)].map(([network, all]) => [
      network,
      all.map(({ service }) => service),
    ]),
  );
}

function hasTables(database: NetworkRecords, names: readonly string[]): boolean {
  const found = database.get(
    'SELECT count(*) AS found FROM sqlite_schema WHERE name IN (SELECT value FROM json_each(?))',
    [JSON.stringify(names)],
  );
  return Number(found?.['found']) === names.length;
}

function membersHere(database: NetworkRecords): Row[] {
  return [
    ...database.each(
      `SELECT service_member.network AS network, service, container_id, document FROM service_member JOIN attachment ON number = attachment
       ORDER BY service_member.network, service, number`,
    ),
  ].flatMap((row): Row[] => {
    const document = memberDocumentIn(String(row['document']));
    if (document === undefined) return [];
    const { addresses, mode, ingressPorts } = document;
    const member = { id: String(row['container_id']), addresses };
    return [{ network: String(row['network']), service: String(row['service']), member, mode, ingressPorts }];
  });
}

/** Returns undefined for a damaged text: it costs its own service or host, and not the list. */
function objectIn(text: unknown): object | undefined {
  const value = attempt(() => parseJson(String(text)));
  return typeof value === 'object' && value !== null ? value : undefined;
}

/**
 * Reads networks that span hosts: what the hosts agreed on, by network and service, and the members on other
 * hosts.
 */
function readSpanned(database: NetworkRecords): {
  readonly services: ReadonlyMap<string, SpannedService>;
  readonly members: readonly Row[];
} {
  const services = new Map(
    [...database.each('SELECT network, service, document FROM spanned_service')].flatMap((row) => {
      const agreed = objectIn(row['document']) as SpannedService | undefined;
      return agreed === undefined
        ? []
        : [[`${String(row['network'])}/${String(row['service'])}`, agreed] as const];
    }),
  );
  const members = [
    ...database.each(
      'SELECT network, service, host, document FROM spanned_member ORDER BY network, service, host',
    ),
  ].flatMap((row) => {
    const found = objectIn(row['document']);
    const [network, service] = [String(row['network']), String(row['service'])];
    const mode = services.get(`${network}/${service}`)?.mode ?? 'vip';
    return (Array.isArray(found) ? (found as SpannedMember[]) : []).map(
      ({ id, addresses, ingressPorts }): Row => ({
        ...{ network, service, mode, ingressPorts },
        member: { id, addresses, host: String(row['host']) },
      }),
    );
  });
  return { services, members };
}
