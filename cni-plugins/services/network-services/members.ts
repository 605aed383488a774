import { memberDocumentIn } from '../../database/memberships.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { Membership } from '../../spec/memberships.ts';
import { noServiceRules, ownerOfPod } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';
import type { SpannedNetwork, SpannedService } from './spanned.ts';

/** The members of services, in the order in which they joined. */
export interface Member extends Pick<
  Membership,
  'mode' | 'aliases' | 'ports' | 'ingressPorts' | 'virtualIPs'
> {
  /** The id of its container or pod. */
  readonly id: string;
  /** `attachment.number`. Absent: the member is on another host. */
  readonly attachment?: number;
  readonly network: string;
  readonly service: string;
  /**
   * The Kubernetes namespace of its pod, or another owner (`../../spec/service-rules.ts`). Absent: unknown,
   * for example on a host with an earlier version.
   */
  readonly owner?: string;
  /** Without prefix lengths. */
  readonly addresses: readonly string[];
  /** Whether clients may connect to it: its link exists and does not deny everything. */
  readonly isReady: boolean;
  /** Rules of the network's file for services when the member joined. Absent: nothing was allowed. */
  readonly rules?: ServiceRules;
  /** The network's IPAM plugin, as configured. */
  readonly ipam: unknown;
}

/** One service of one network, with its members. */
export interface NetworkService {
  readonly network: string;
  readonly name: string;
  /** The mode of the first member applies. */
  readonly members: readonly [Member, ...Member[]];
  /** For a network that spans hosts: what the hosts agreed on. */
  readonly spanned?: Spanned;
}

export interface Spanned extends SpannedService {
  /** The link that is the gateway of this host's pods. */
  readonly link: string;
  /** Rules of this host's own settings for services of the network. */
  readonly rules: ServiceRules;
  /**
   * Members on this host in the other mode or of another Kubernetes namespace. They are not members of the
   * service.
   */
  readonly refused: readonly Member[];
}

/**
 * Reads members on this host, of networks whose links are in the namespace `namespaceId`. Synchronous,
 * for a Worker.
 */
export function createMemberReader(
  { db }: Pick<NetworkDatabase, 'db'>,
  namespaceId: string,
): () => readonly Member[] {
  const select = db.prepare(
    `SELECT number, container_id, service_member.network AS network, service, document, owner,
       (origin <> 'pod' OR (state = 'ready' AND class <> 'deny'))
         AND NOT EXISTS (SELECT 1 FROM part WHERE part.attachment = number AND part.state = 'removing') AS ready
     FROM service_member JOIN attachment ON number = attachment WHERE service_member.realm = ? ORDER BY number, service`,
  );
  return () =>
    (select.all(namespaceId) as unknown as MemberRow[]).flatMap(
      ({ number, container_id: id, network, service, document, owner, ready }): Member[] => {
        const read = memberDocumentIn(document);
        if (read === undefined) return [];
        const { mode, aliases, ports, ingressPorts, virtualIPs, addresses, rules, ipam } = read;
        return [
          {
            id,
            attachment: number,
            network,
            service,
            owner,
            mode,
            aliases,
            ports,
            ingressPorts,
            virtualIPs,
            addresses,
            ...(rules !== undefined && { rules }),
            ipam,
            isReady: ready === 1,
          },
        ];
      },
    );
}

interface MemberRow {
  readonly number: number;
  readonly container_id: string;
  readonly network: string;
  readonly service: string;
  readonly document: string;
  readonly owner: string;
  readonly ready: number;
}

/** Whether any attachment, on this host or another one, joined a service. */
export const anyMembers =
  'SELECT 1 FROM service_member UNION ALL SELECT 1 FROM network_service UNION ALL SELECT 1 FROM spanned_member LIMIT 1';

/** The tables that the reader uses. */
export const memberTables = ['service_member', 'network_service', 'spanned_member'] as const;

/**
 * Returns the owner as hosts exchange it. A member whose owner an earlier version did not store counts as not
 * belonging to a pod.
 */
const ownerAt = ({ owner }: Pick<Member, 'owner'>): string => (owner === undefined ? '' : ownerOfPod(owner));

/**
 * Whether an owner's members may join a service over hosts. An unknown owner comes from a host with an
 * earlier version.
 */
const isOwn = (
  { owner }: SpannedService,
  member: Pick<Member, 'owner' | 'service'>,
  { sharedServices }: ServiceRules,
): boolean =>
  owner === undefined ||
  owner === ownerAt(member) ||
  sharedServices.some((shared) => shared === '*' || shared === member.service);

/**
 * Pure.
 * @param spanned networks over hosts: a service exists once the hosts have agreed on it, with the members of
 * all of them
 */
export function servicesOf(
  members: readonly Member[],
  spanned: ReadonlyMap<string, SpannedNetwork> = new Map(),
): NetworkService[] {
  const groups = Map.groupBy(members, ({ network, service }) => `${network}/${service}`);
  const own = [...groups.values()].flatMap(([first, ...others]): NetworkService[] =>
    first === undefined || spanned.has(first.network)
      ? []
      : [{ network: first.network, name: first.service, members: [first, ...others] }],
  );
  const shared = [...spanned].flatMap(([network, { link, services, rules = noServiceRules }]) =>
    [...services].flatMap(([name, { members: remote, ...agreed }]): NetworkService[] => {
      const { mode } = agreed;
      const local = groups.get(`${network}/${name}`) ?? [];
      const fits = (member: Member): boolean => member.mode === mode && isOwn(agreed, member, rules);
      const [first, ...others] = [
        ...local,
        ...remote.map((member): Member => ({
          ...member,
          network,
          service: name,
          mode,
          virtualIPs: [],
          ipam: undefined,
        })),
      ].filter(fits);
      if (first === undefined) return [];
      const refused = local.filter((member) => !fits(member));
      return [{ network, name, members: [first, ...others], spanned: { ...agreed, link, rules, refused } }];
    }),
  );
  return [...own, ...shared];
}
