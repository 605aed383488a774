import { attempt } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import { bootOf } from '../../namespaces/namespace-id.ts';
import type { Membership } from '../../spec/memberships.ts';
import { noServiceRules } from '../../spec/service-rules.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';

/**
 * Services of networks that span hosts, as the overlay stores them: what all hosts agreed on, and members of
 * the other hosts. Members of this host are stored with those of any other network.
 */
export interface SpannedService {
  /** The mode of a service: the same on every host. */
  readonly mode: Membership['mode'];
  /**
   * The Kubernetes namespace of its first member on any host. Absent: an earlier version stored the service.
   */
  readonly owner?: string;
  readonly addresses: readonly string[];
  /** `tcp-30080`: only ports that no other service of the network has. */
  readonly ingressPorts: readonly string[];
}

/** A member on another host. */
export interface SpannedMember extends Pick<Membership, 'aliases' | 'ports' | 'ingressPorts'> {
  /** The id of its container or pod. */
  readonly id: string;
  /** The Kubernetes namespace of its pod. Absent: its host has an earlier version. */
  readonly owner?: string;
  readonly addresses: readonly string[];
  readonly isReady: boolean;
}

/** A network that spans hosts. */
export interface SpannedNetwork {
  /** The link that is the gateway of this host's pods. It may not exist yet. */
  readonly link: string;
  /** Rules of this host's own settings for services of the network. Absent: nothing is allowed. */
  readonly rules?: ServiceRules;
  /** By name. A service that etcd has not reported yet is missing. */
  readonly services: ReadonlyMap<
    string,
    SpannedService & { readonly members: readonly (SpannedMember & { readonly host: string })[] }
  >;
}

/**
 * Reads networks of the namespace `namespaceId`, and those of a former boot that the overlay has not
 * updated yet, by network. Synchronous, for a Worker.
 */
export function createSpannedReader(
  { db }: Pick<NetworkDatabase, 'db'>,
  namespaceId: string,
): () => ReadonlyMap<string, SpannedNetwork> {
  const selectNetworks = db.prepare(
    `SELECT network, link, document AS rules FROM spanned_network LEFT JOIN spanned_rules USING (network) WHERE realm = ?1 OR substr(realm, 1, ?2) <> ?3`,
  );
  const boot = `${bootOf()}/`;
  const selectServices = db.prepare(
    'SELECT service, document FROM spanned_service WHERE network = ? ORDER BY service',
  );
  const selectMembers = db.prepare(
    'SELECT service, host, document FROM spanned_member WHERE network = ? ORDER BY service, host',
  );
  return () =>
    new Map(
      (
        selectNetworks.all(namespaceId, boot.length, boot) as unknown as {
          network: string;
          link: string;
          rules: string | null;
        }[]
      ).map(({ network, link, rules }) => {
        const members = Map.groupBy(
          selectMembers.all(network) as unknown as { service: string; host: string; document: string }[],
          ({ service }) => service,
        );
        const services = (
          selectServices.all(network) as unknown as { service: string; document: string }[]
        ).flatMap(({ service, document }) => {
          const agreed = readable(document) as SpannedService | undefined;
          if (agreed === undefined) return [];
          const others = (members.get(service) ?? []).flatMap(({ host, document: text }) =>
            ((readable(text) ?? []) as SpannedMember[]).map((member) => ({ ...member, host })),
          );
          return [[service, { ...agreed, members: others }] as const];
        });
        const own =
          rules === null ? {} : { rules: (readable(rules) as ServiceRules | undefined) ?? noServiceRules };
        return [network, { link, ...own, services: new Map(services) }] as const;
      }),
    );
}

/** A damaged row costs its service, and no other. The overlay removes it at its next start. */
function readable(text: string): object | undefined {
  const value = attempt(() => parseJson(text));
  return typeof value === 'object' && value !== null ? value : undefined;
}

/**
 * Forgets all networks over hosts, because this host no longer takes part in any: their members are members
 * of one host again.
 */
export const forgetSpannedNetworks = ({ db }: Pick<NetworkDatabase, 'db'>): void =>
  db.exec('DELETE FROM spanned_network');
