import { parseJson } from '../../base/json/index.ts';
import type { MemberDocument } from '../attach/memberships.ts';
import type { openReadOnly } from '../../base/storage/index.ts';
import type { SpannedMember, SpannedService } from '../services/network-services/spanned.ts';

/** Services of networks, as they are written down. */
export interface ReportedNetworkService {
  readonly name: string;
  /** `vip`: one virtual address, balanced; `dnsrr`: its name has the addresses of all members. */
  readonly mode: 'vip' | 'dnsrr';
  /** Virtual ones; none: it has none yet, or none at all. */
  readonly addresses: readonly string[];
  /** `8080:80/tcp` of each member, at every address of the host. */
  readonly ingressPorts: readonly string[];
  readonly members: readonly ReportedMember[];
}

interface ReportedMember {
  readonly id: string;
  readonly addresses: readonly string[];
  /** Of a network that spans hosts, where it is; absent: here. */
  readonly host?: string;
}

type Database = ReturnType<typeof openReadOnly>;

/** A member as it is written down, wherever it is. */
interface Row {
  readonly network: string;
  readonly service: string;
  readonly member: ReportedMember;
  readonly mode: 'vip' | 'dnsrr';
  readonly ingressPorts: MemberDocument['ingressPorts'];
}

/** By network. */
export function readNetworkServices(database: Database): ReadonlyMap<string, readonly ReportedNetworkService[]> {
  if (!hasTables(database, ['service_member', 'network_service'])) return new Map();
  const virtual = new Map<string, readonly string[]>();
  for (const row of database.each('SELECT network, service, document FROM network_service'))
    virtual.set(
      `${String(row['network'])}/${String(row['service'])}`,
      (parseJson(String(row['document'])) as { addresses: string[] }).addresses,
    );
  const spanned = hasTables(database, ['spanned_service', 'spanned_member'])
    ? readSpanned(database)
    : { services: new Map<string, SpannedService>(), members: [] };
  // Who joined here in another mode than that of all hosts is no member.
  const here = membersHere(database).filter(
    ({ network, service, mode }) => (spanned.services.get(`${network}/${service}`)?.mode ?? mode) === mode,
  );
  const groups = Map.groupBy([...here, ...spanned.members], ({ network, service }) => `${network}/${service}`);
  const services = [...groups].map(([key, own]) => ({
    network: own[0]?.network ?? '',
    service: {
      name: own[0]?.service ?? '',
      mode: own[0]?.mode ?? 'vip',
      addresses: spanned.services.get(key)?.addresses ?? virtual.get(key) ?? [],
      ingressPorts: [
        ...new Set(
          own.flatMap(({ ingressPorts }) =>
            ingressPorts.map(({ port, targetPort, protocol }) => `${port}${port === targetPort ? '' : `:${targetPort}`}/${protocol}`),
          ),
        ),
      ],
      members: own.map(({ member }) => member),
    },
  }));
  return new Map(
    [...Map.groupBy(services, ({ network }) => network)].map(([network, all]) => [network, all.map(({ service }) => service)]),
  );
}

function hasTables(database: Database, names: readonly string[]): boolean {
  const found = database.get('SELECT count(*) AS found FROM sqlite_schema WHERE name IN (SELECT value FROM json_each(?))', [
    JSON.stringify(names),
  ]);
  return Number(found?.['found']) === names.length;
}

function membersHere(database: Database): Row[] {
  return [
    ...database.each(
      `SELECT service_member.network AS network, service, container_id, document FROM service_member JOIN attachment ON number = attachment
       ORDER BY service_member.network, service, number`,
    ),
  ].map((row): Row => {
    const { addresses, mode, ingressPorts } = parseJson(String(row['document'])) as MemberDocument;
    const member = { id: String(row['container_id']), addresses };
    return { network: String(row['network']), service: String(row['service']), member, mode, ingressPorts };
  });
}

/** Of networks that span hosts: what these agreed on, by network and service, and members on the others. */
function readSpanned(database: Database): { readonly services: ReadonlyMap<string, SpannedService>; readonly members: readonly Row[] } {
  const services = new Map(
    [...database.each('SELECT network, service, document FROM spanned_service')].map((row) => [
      `${String(row['network'])}/${String(row['service'])}`,
      parseJson(String(row['document'])) as SpannedService,
    ]),
  );
  const members = [...database.each('SELECT network, service, host, document FROM spanned_member ORDER BY network, service, host')].flatMap(
    (row) =>
      (parseJson(String(row['document'])) as SpannedMember[]).map(({ id, addresses, ingressPorts }): Row => {
        const [network, service] = [String(row['network']), String(row['service'])];
        const mode = services.get(`${network}/${service}`)?.mode ?? 'vip';
        return { network, service, member: { id, addresses, host: String(row['host']) }, mode, ingressPorts };
      }),
  );
  return { services, members };
}
