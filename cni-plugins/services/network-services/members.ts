import type { MemberDocument } from '../../attach/memberships.ts';
import type { NetworkDatabase } from '../../attach/database.ts';
import type { Membership } from '../../spec/memberships.ts';

/** Who is a member of what, in the order in which they joined. */
export interface Member extends Pick<Membership, 'mode' | 'aliases' | 'ports' | 'ingressPorts' | 'virtualIPs'> {
  readonly network: string;
  readonly service: string;
  /** Without prefix lengths. */
  readonly addresses: readonly string[];
  /** It may be connected to: its link stands and denies not all. */
  readonly isReady: boolean;
  /** The network's address plugin, as its configuration has it. */
  readonly ipam: unknown;
}

/** One service of one network, with its members. */
export interface NetworkService {
  readonly network: string;
  readonly name: string;
  /** Of the first one the mode holds. */
  readonly members: readonly [Member, ...Member[]];
}

/** Members on this host, of networks whose links are in the host network namespace `realm`. Synchronous, for a Worker. */
export function createMemberReader({ db }: Pick<NetworkDatabase, 'db'>, realm: string): () => readonly Member[] {
  const select = db.prepare(
    `SELECT service_member.network AS network, service, document,
       (origin <> 'pod' OR (state = 'ready' AND class <> 'deny'))
         AND NOT EXISTS (SELECT 1 FROM part WHERE part.attachment = number AND part.state = 'removing') AS ready
     FROM service_member JOIN attachment ON number = attachment WHERE service_member.realm = ? ORDER BY number, service`,
  );
  return () =>
    (select.all(realm) as unknown as { network: string; service: string; document: string; ready: number }[]).map(
      ({ network, service, document, ready }): Member => {
        const { mode, aliases, ports, ingressPorts, virtualIPs, addresses, ipam } = JSON.parse(document) as MemberDocument;
        return { network, service, mode, aliases, ports, ingressPorts, virtualIPs, addresses, ipam, isReady: ready === 1 };
      },
    );
}

/** Whether any attachment joined a service. */
export const anyMembers = 'SELECT 1 FROM service_member UNION ALL SELECT 1 FROM network_service LIMIT 1';

/** Pure. */
export function servicesOf(members: readonly Member[]): NetworkService[] {
  const groups = Map.groupBy(members, ({ network, service }) => `${network}/${service}`);
  return [...groups.values()].flatMap(([first, ...others]) =>
    first === undefined ? [] : [{ network: first.network, name: first.service, members: [first, ...others] }],
  );
}
