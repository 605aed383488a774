import { parseJson } from '../../../base/json/index.ts';
import type { NetworkDatabase } from '../../attach/database.ts';
import { bootOf } from '../../attach/realm.ts';
import type { Membership } from '../../spec/memberships.ts';
import type { ServiceRules } from '../../spec/service-rules.ts';

/**
 * Services of networks that span hosts, as the overlay writes them down: what all hosts agreed on, and members of the other hosts. Members of this host
 * are where those of any network are.
 */
export interface SpannedService {
  /** Of a service: the same on every host. */
  readonly mode: Membership['mode'];
  /** The namespace of its first member on any host. Absent: written down by an earlier version. */
  readonly owner?: string;
  readonly addresses: readonly string[];
  /** `tcp-30080`: those that no other service of the network has. */
  readonly ingressPorts: readonly string[];
}

/** Of another host. */
export interface SpannedMember extends Pick<Membership, 'aliases' | 'ports' | 'ingressPorts'> {
  /** Of its container or pod. */
  readonly id: string;
  /** The namespace of its pod. Absent: its host has an earlier version. */
  readonly owner?: string;
  readonly addresses: readonly string[];
  readonly isReady: boolean;
}

/** A network that spans hosts. */
export interface SpannedNetwork {
  /** That pods of this host have their gateway at; it may not be there yet. */
  readonly link: string;
  /** What this host's own settings let services have of it; absent: nothing. */
  readonly rules?: ServiceRules;
  /** By name; one that etcd was not heard of yet is missing. */
  readonly services: ReadonlyMap<string, SpannedService & { readonly members: readonly (SpannedMember & { readonly host: string })[] }>;
}

/** Those of the host network namespace `realm`, and of a former boot, which the overlay did not look at yet; by network. Synchronous, for a Worker. */
export function createSpannedReader({ db }: Pick<NetworkDatabase, 'db'>, realm: string): () => ReadonlyMap<string, SpannedNetwork> {
  const selectNetworks = db.prepare(
    `SELECT network, link, document AS rules FROM spanned_network LEFT JOIN spanned_rules USING (network) WHERE realm = ?1 OR substr(realm, 1, ?2) <> ?3`,
  );
  const boot = `${bootOf()}/`;
  const selectServices = db.prepare('SELECT service, document FROM spanned_service WHERE network = ? ORDER BY service');
  const selectMembers = db.prepare('SELECT service, host, document FROM spanned_member WHERE network = ? ORDER BY service, host');
  return () =>
    new Map(
      (selectNetworks.all(realm, boot.length, boot) as unknown as { network: string; link: string; rules: string | null }[]).map(
        ({ network, link, rules }) => {
          const members = Map.groupBy(
            selectMembers.all(network) as unknown as { service: string; host: string; document: string }[],
            ({ service }) => service,
          );
          const services = (selectServices.all(network) as unknown as { service: string; document: string }[]).map(
            ({ service, document }) =>
              [
                service,
                {
                  ...(parseJson(document) as SpannedService),
                  members: (members.get(service) ?? []).flatMap(({ host, document: text }) =>
                    (parseJson(text) as SpannedMember[]).map((member) => ({ ...member, host })),
                  ),
                },
              ] as const,
          );
          const own = rules === null ? {} : { rules: parseJson(rules) as ServiceRules };
          return [network, { link, ...own, services: new Map(services) }] as const;
        },
      ),
    );
}

/** This host takes part in no network over hosts any more: its members are those of one host again. */
export const forgetSpannedNetworks = ({ db }: Pick<NetworkDatabase, 'db'>): void => db.exec('DELETE FROM spanned_network');
