import { isPortcullisError } from '../../../base/errors/index.ts';
import { namesAt } from '../../database/call-names.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { HostEnd } from '../../database/host-sockets.ts';
import { createMembershipStore, memberNames, rulesOf } from '../../database/memberships.ts';
import { createNameStore } from '../../database/endpoint-names.ts';
import { membershipLabel, membershipsOn, parseMemberships } from '../../spec/memberships.ts';
import type { Membership } from '../../spec/memberships.ts';
import { otherOwners } from '../../spec/service-rules.ts';
import { interfaceName } from './records.ts';
import type { CnmStore } from './store.ts';

/** The names by which others on a network find an endpoint of it. */
export interface EndpointNames {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Services of the network that the endpoint joins, as JSON: `parseMemberships`. */
  readonly services?: string;
}

/**
 * Creates the function that writes an endpoint's names. As for all other attachments, it writes names only if
 * the network's configuration declares the capability `aliases`, and they last as long as the attachment that
 * our plugins made. Third-party plugins record no attachment. Synchronous, for a Worker.
 * @returns a function that writes the names; if it throws, the names are written nevertheless: with
 * NETWORK_SERVICE_MEMBERSHIP_INVALID and no services, or with the error of `MembershipStore.put` and the
 * services that the endpoint had
 */
export function createEndpointNames(
  { db, transaction }: NetworkDatabase,
  store: Pick<CnmStore, 'endpoint' | 'network'>,
): (endpoint: string, called: EndpointNames, isHeld: (end: HostEnd) => boolean) => void {
  const nameStore = createNameStore({ db });
  const membershipStore = createMembershipStore({ db });
  const selectAttachment = db.prepare(
    "SELECT number FROM attachment WHERE realm = ? AND origin = 'plugin' AND network = ? AND container_id = ? AND interface = ?",
  );

  /** @param all absent: the endpoint keeps its memberships */
  const put = (
    id: string,
    { name, aliases }: EndpointNames,
    all: readonly Membership[] | undefined,
    isHeld: (end: HostEnd) => boolean,
  ): void =>
    transaction(() => {
      const endpoint = store.endpoint(id);
      const network = endpoint === undefined ? undefined : store.network(endpoint.network);
      if (endpoint?.state !== 'ready' || network === undefined) return;
      if (!network.list.plugins.some(({ capabilities }) => capabilities.includes('aliases'))) return;
      const { namespaceId } = endpoint;
      const row = selectAttachment.get(namespaceId, network.name, id, interfaceName) as
        | { number: number }
        | undefined;
      if (row === undefined) return;
      const addresses = (endpoint.spec.result?.ips ?? []).map(({ address }) =>
        address.replace(/\/\d+$/u, ''),
      );
      const ipam = network.list.plugins.find(({ ipamType }) => ipamType !== undefined)?.config['ipam'];
      const joined = {
        memberships:
          all === undefined ? membershipStore.standing(row.number) : membershipsOn(all, network.name),
        addresses,
        ipam,
        rules: rulesOf(network.list.plugins[0]?.config ?? {}, network.name),
      };
      // Replaces what the plugins wrote, because an endpoint's id is not a name.
      const holder = {
        namespaceId,
        network: network.name,
        holder: `${id}/${interfaceName}`,
        attachment: row.number,
        owner: otherOwners.docker,
      };
      if (all !== undefined) membershipStore.put(holder, joined, isHeld);
      nameStore.put(holder, [
        ...namesAt(addresses, 'container', [name]),
        ...namesAt(addresses, 'alias', aliases),
        ...memberNames(joined),
      ]);
    });

  return (id, called, isHeld) => {
    try {
      put(
        id,
        called,
        called.services === undefined ? [] : parseMemberships(called.services, membershipLabel),
        isHeld,
      );
    } catch (thrown) {
      // An invalid label removes no name. A membership that was accepted once stays if it is refused when
      // docker's containers are read again.
      const isWrong = isPortcullisError(thrown) && thrown.code === 'NETWORK_SERVICE_MEMBERSHIP_INVALID';
      put(id, called, isWrong ? [] : undefined, isHeld);
      throw thrown;
    }
  };
}
