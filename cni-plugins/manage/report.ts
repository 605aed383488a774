import { parseJson } from '../../base/json/index.ts';
import { attempt, isPortcullisError } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import type { SqlRow } from '../../base/storage/index.ts';
import { leaseCount } from '../database/figures.ts';
import { isVirtualHolder } from '../database/memberships.ts';
import { networksIn } from '../networks/networks.ts';
import { bareType } from '../calls/plugin-type.ts';
import type { NetworkChoice } from '../networks/networks.ts';
import { ownNamespaceId } from '../namespaces/namespace-id.ts';
import { isHeld } from '../database/record.ts';
import type { AttachmentSpec } from '../database/record.ts';
import { formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { RangeSet } from '../spec/network-config.ts';
import type { LoadedNetwork } from '../spec/conf-folder.ts';
import { linkNames } from './host-links.ts';
import { refusedFieldsOf } from '../networks/refused-fields.ts';
import { isConnectedId } from '../spec/connected-id.ts';
import { readRecords } from './network-records.ts';
import { readNetworkServices } from './network-services.ts';
import type { ReportedNetworkService } from './network-services.ts';

/**
 * The networks and attachments, read from the conf folder and the database. Works while a daemon writes to
 * the database, and without a daemon. Blocks, so only commands use it.
 */
export interface NetworkReport {
  readonly networks: readonly ReportedNetwork[];
  /** Files that are skipped, or the reason why no file can be used. */
  readonly problems: readonly string[];
}

export interface ReportedNetwork {
  /** Why no pod can be attached, such as fields that a plugin of ours does not know. Absent: none known. */
  readonly refused?: readonly string[];
  readonly name: string;
  /** Absent: attachments exist, but the folder no longer has such a network. */
  readonly file?: string;
  readonly way?: LoadedNetwork['way'];
  readonly cniVersion?: string;
  /**
   * Whether classes, peer rules and NetworkPolicies are enforced on the links of the network. `refused`: a
   * container whose class or rules deny traffic is refused at start. `by-result`: the result that the plugins
   * return for a pod's link decides. Absent for a network whose file is gone.
   */
  readonly classes?: 'by-result' | 'held' | 'refused';
  /** Plugin types in their order, with the IPAM plugin of each behind a slash. */
  readonly plugins: readonly string[];
  readonly subnets: readonly string[];
  /** Links of the host that its plugins of type bridge use. */
  readonly bridges: readonly string[];
  readonly leases: {
    readonly used: number;
    /**
     * Number of addresses in the ranges that this engine leases from itself. The size of third-party IPAM
     * plugins is not known.
     */
    readonly size?: number;
    /**
     * The same per range set from which each pod gets one address. The IPv4 range may be exhausted while the
     * IPv6 range never is.
     */
    readonly ranges?: readonly LeasedRange[];
  };
  readonly attachments: readonly ReportedAttachment[];
  /** Services that the members of the network joined. */
  readonly services: readonly ReportedNetworkService[];
}

export interface LeasedRange {
  readonly subnets: readonly string[];
  readonly used: number;
  readonly size: number;
}

export interface ReportedAttachment {
  readonly id: string;
  readonly interface: string;
  /**
   * The recorded state, `altered` (ask-report.ts), or `lost`: the record exists, but the host's
   * link is gone. Reported for attachments of the caller's network namespace.
   */
  readonly state: string;
  /** For an `altered` attachment: what its end in the pod is missing compared to the record. */
  readonly altered?: readonly string[];
  /** `pod`: created by our own runtime; `plugin`: created by another runtime through our plugins. */
  readonly origin: 'plugin' | 'pod';
  readonly addresses: readonly string[];
  readonly class?: string;
  readonly rules?: object;
  readonly namespace?: string;
  readonly pod?: string;
  readonly hostInterface?: string;
  /**
   * The network namespace that `portcullis network connect` gave the interface to, if it belongs to no pod.
   * Otherwise absent.
   */
  readonly connected?: string;
}

export interface ReportSource {
  readonly databasePath: string;
  readonly confDir: string;
  readonly choice: NetworkChoice;
}

/** The default link of the plugin bridge, if the configuration names none. */
export const defaultBridge = 'cni0';

/** The highest number of networks that are read: all of the folder, not only those that pods get. */
const most = 1000;

/**
 * Returns all networks of the conf folder, with their attachments and leases in the database. A file that
 * cannot be read becomes a problem of the report.
 * @throws no PortcullisError for a file of the conf folder, only for a database that cannot be read
 */
export function readNetworkReport({ databasePath, confDir, choice }: ReportSource): NetworkReport {
  const problems: string[] = [];
  const networks: LoadedNetwork[] = [];
  try {
    const loaded = networksIn(confDir, { ...choice, maxConfigs: most });
    append(networks, loaded.networks);
    append(problems, loaded.skipped);
  } catch (thrown) {
    if (!isPortcullisError(thrown)) throw thrown;
    const { code, on, why, fix } = thrown.failure;
    if (code === 'NETWORK_NO_CONFLIST') problems.push(`${on}: ${why}; ${fix}`);
    else problems.push(code === 'NETWORK_CONFLIST_UNREADABLE' ? `${on}: ${why}` : why);
  }
  const { held, services } = readDatabase(databasePath);
  const known = new Set(networks.map(({ name }) => name));
  const lost = [...new Set(held.flatMap(({ network }) => (known.has(network) ? [] : [network])))];
  const of = (
    name: string,
  ): Pick<ReportedNetwork, 'attachments'> & { readonly leased: readonly IpAddress[] } => {
    const own = held.filter(({ network }) => network === name);
    return {
      attachments: own.flatMap(({ attachment }) => attachment ?? []),
      leased: own.flatMap(({ leases }) => leases),
    };
  };
  return {
    networks: [
      ...networks.map((network): ReportedNetwork => {
        const { attachments, leased } = of(network.name);
        const sets = network.network?.rangeSets;
        const ranges = sets?.map((set) => leasedOf(set, leased));
        const refused = network.way === 'in-process' ? refusedFieldsOf(network) : [];
        return {
          ...described(network),
          ...(refused.length > 0 && { refused }),
          leases: {
            used: leased.length,
            ...(sets !== undefined && { size: leaseCount(sets) }),
            ...(ranges !== undefined && { ranges }),
          },
          attachments,
          services: services.get(network.name) ?? [],
        };
      }),
      ...lost.map((name): ReportedNetwork => {
        const { attachments, leased } = of(name);
        return {
          name,
          plugins: [],
          subnets: [],
          bridges: [],
          leases: { used: leased.length },
          attachments,
          services: services.get(name) ?? [],
        };
      }),
    ],
    problems,
  };
}

const leasedOf = (set: RangeSet, leased: readonly IpAddress[]): LeasedRange => ({
  subnets: [...new Set(set.map(({ subnet }) => `${formatIp(subnet.address)}/${subnet.length}`))],
  used: leased.filter(({ family, value }) =>
    set.some(({ start, end }) => start.family === family && value >= start.value && value <= end.value),
  ).length,
  size: leaseCount([set]),
});

/** Plugins whose links have no end on the host, our own and upstream's. */
const endless: ReadonlySet<string> = new Set(['dummy', 'host-device', 'ipvlan', 'macvlan', 'tap', 'vlan']);

function classesOf({ way, list }: LoadedNetwork): NonNullable<ReportedNetwork['classes']> {
  const first = bareType(list.plugins[0]?.type ?? '');
  if (way === 'core' || first === 'bridge' || first === 'ptp') return 'held';
  return endless.has(first) ? 'refused' : 'by-result';
}

function described(network: LoadedNetwork): Omit<ReportedNetwork, 'attachments' | 'leases' | 'services'> {
  const { name, file, way, list } = network;
  return {
    name,
    file,
    way,
    cniVersion: list.cniVersion,
    classes: classesOf(network),
    plugins: list.plugins.map(({ type, ipamType }) =>
      ipamType === undefined ? type : `${type}/${ipamType}`,
    ),
    bridges: list.plugins.flatMap(({ type, config }) =>
      bareType(type) !== 'bridge'
        ? []
        : [
            typeof config['bridge'] === 'string' && config['bridge'] !== ''
              ? config['bridge']
              : defaultBridge,
          ],
    ),
    subnets: [...new Set(list.plugins.flatMap(({ config }) => subnetsIn(config['ipam'])))],
  };
}

/** Collects every `subnet` in an IPAM plugin's configuration. */
function subnetsIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) =>
    name === 'subnet' && typeof inner === 'string' ? [inner] : subnetsIn(inner),
  );
}

interface Held {
  readonly network: string;
  readonly leases: readonly IpAddress[];
  /** Absent: the leases belong to the virtual address of a service. */
  readonly attachment?: ReportedAttachment;
}

function readDatabase(databasePath: string): {
  held: readonly Held[];
  services: ReturnType<typeof readNetworkServices>;
} {
  const none = { held: [], services: new Map() };
  return readRecords<ReturnType<typeof readDatabase>>(databasePath, none, (records) => {
    const rows = records.each(
      `SELECT network, container_id, interface, state, origin, class, rules, spec, realm,
         (SELECT group_concat(json_extract(value, '$.hostInterface'))
          FROM part, json_each(iif(json_valid(resources), resources, '[]'))
          WHERE attachment = number AND json_extract(value, '$.kind') IN ('veth-port', 'routed-pair')) AS pairs,
         (SELECT group_concat(hex(address)) FROM lease WHERE attachment = number) AS addresses,
         (SELECT max(netns) FROM part WHERE attachment = number) AS netns
       FROM attachment ORDER BY number`,
    );
    const isGone = goneLinks();
    return {
      held: ofPods([...rows].flatMap((row) => heldOf(row, isGone))),
      services: readNetworkServices(records),
    };
  });
}

/**
 * Merges records that plugins wrote for pods of our own runtime: a plugin attachment of the pod, or an
 * interface that a command added.
 */
function ofPods(held: readonly Held[]): Held[] {
  const placeOf = ({ network, attachment }: Held): string =>
    [network, attachment?.id, attachment?.interface].join('\0');
  const pods = new Map<string, ReportedAttachment>();
  const places = new Set<string>();
  for (const each of held)
    if (each.attachment?.origin === 'pod') {
      pods.set(each.attachment.id, each.attachment);
      places.add(placeOf(each));
    }
  return held.map((each): Held => {
    const { attachment, ...leased } = each;
    const pod = attachment?.origin === 'plugin' ? pods.get(attachment.id) : undefined;
    if (attachment === undefined || pod?.pod === undefined) return each;
    return places.has(placeOf(each))
      ? leased
      : { ...each, attachment: { ...attachment, namespace: pod.namespace ?? '', pod: pod.pod } };
  });
}

type IsGone = (namespaceId: string, hostInterface: string) => boolean;

/** The links of other network namespaces are unknown here. */
function goneLinks(): IsGone {
  const [namespaceId, names] = [ownNamespaceId(), linkNames()];
  return (of, hostInterface) => of === namespaceId && hostInterface !== '' && !names.has(hostInterface);
}

function heldOf(row: SqlRow, isGone: IsGone): Held[] {
  const text = (name: string): string => String(row[name] ?? '');
  const stateWith = (links: readonly (string | undefined)[]): string =>
    text('state') === 'ready' && links.some((link) => link !== undefined && isGone(text('realm'), link))
      ? 'lost'
      : text('state');
  // A damaged record hides no other: the row itself says what is known.
  const objectOf = (name: string): object =>
    (attempt(() => parseJson(text(name))) as object | null | undefined) ?? {};
  const spec = objectOf('spec') as Partial<AttachmentSpec>;
  const leases = text('addresses')
    .split(',')
    .flatMap((hex) => (hex === '' ? [] : [leasedAddress(hex)]));
  const base = {
    id: text('container_id'),
    state: text('state'),
    origin: text('origin') === 'pod' ? 'pod' : 'plugin',
  } as const;
  if (isVirtualHolder(base.id, text('interface'))) return [{ network: text('network'), leases }];
  if (base.origin === 'plugin') {
    const connected = isConnectedId(base.id) && { connected: text('netns') };
    const state = stateWith(text('pairs').split(','));
    const attachment = {
      ...base,
      state,
      interface: text('interface'),
      addresses: leases.map(formatIp),
      ...connected,
      // Recorded if NetworkPolicies apply to it.
      ...(spec.pod !== undefined && { namespace: spec.pod.namespace, pod: spec.pod.name }),
    };
    return [{ network: text('network'), leases, attachment }];
  }
  const rules = objectOf('rules');
  const own: ReportedAttachment = {
    ...base,
    state: stateWith(hasLink(spec) ? [spec.hostInterface] : []),
    interface: text('interface'),
    addresses: (spec.addresses ?? []).map(({ ip, prefixLength }) => `${ip}/${prefixLength}`),
    class: text('class'),
    ...(Object.keys(rules).length > 0 && { rules }),
    namespace: spec.pod?.namespace ?? '',
    pod: spec.pod?.name ?? '',
    hostInterface: spec.hostInterface ?? '',
  };
  const others = (spec.chains ?? []).filter((link) => link.interface !== own.interface);
  return [
    { network: text('network'), leases, attachment: own },
    ...others.map((link): Held => ({
      network: link.network,
      leases: [],
      attachment: {
        ...base,
        state: stateWith(
          (spec.further ?? []).flatMap(({ network, hostInterface }) =>
            network === link.network ? [hostInterface] : [],
          ),
        ),
        interface: link.interface,
        addresses: link.result?.ips.map(({ address }) => address) ?? [],
        namespace: own.namespace ?? '',
        pod: own.pod ?? '',
      },
    })),
  ];
}

/** Whether the host's end of the first interface is known. */
const hasLink = (spec: Partial<AttachmentSpec>): boolean =>
  isHeld({ interface: '', ...spec } as AttachmentSpec);

/** Parses an address as the lease table stores it: 16 bytes, IPv4 as ::ffff:a.b.c.d. */
function leasedAddress(hex: string): IpAddress {
  const value = BigInt(`0x${hex}`);
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffff_ffffn } : { family: 6, value };
}
