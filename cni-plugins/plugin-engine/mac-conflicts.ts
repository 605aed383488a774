import { PortcullisError } from '../../base/errors/index.ts';
import { listSettings } from '../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../base/netlink/index.ts';
import { ipBytes, parsePrefix } from '../../base/addresses/index.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetworkDatabase } from '../database/database.ts';

/**
 * Checks MAC addresses that a caller chooses. Two interfaces of one network with the same address receive
 * each other's frames. So an address that another interface of the network, or a link of the host, already
 * has is refused. Synchronous, for a Worker.
 */
export interface TakenMacs {
  /**
   * Call it inside a transaction.
   * @param wanted lower case with colons
   * @param of `isPod`: a pod's author chose the address; a container engine may number its links as we do
   * @throws NETWORK_MAC_TAKEN
   */
  refuse(
    wanted: string,
    of: {
      readonly isPod: boolean;
      readonly namespaceId: string;
      readonly key: AttachmentKey;
      readonly route: NetlinkSocket;
      readonly result: CniResult;
    },
  ): void;
}

/**
 * Prefix of the addresses that we assign ourselves, which are derived from the interface's IPv4 address. If a
 * pod could choose the MAC of a free address, it would have the MAC of that address's next holder.
 */
const ownPrefix = '0a:58:';

export function createTakenMacs({ db }: Pick<NetworkDatabase, 'db'>): TakenMacs {
  const selectOfPlugins = db.prepare(
    `SELECT container_id FROM attachment JOIN part ON part.attachment = number JOIN json_each(result, '$.interfaces') AS link
     WHERE realm = ?1 AND network = ?2 AND lower(json_extract(link.value, '$.mac')) = ?3 AND NOT (container_id = ?4 AND interface = ?5) LIMIT 1`,
  );
  const selectOfPods = db.prepare(
    `SELECT container_id FROM attachment WHERE realm = ?1 AND network = ?2 AND origin = 'pod' AND lower(json_extract(spec, '$.mac')) = ?3 LIMIT 1`,
  );
  return {
    refuse(wanted, { isPod, namespaceId, key: { network, containerId, interface: name }, route, result }) {
      const derived = result.ips.flatMap(({ address }) => {
        const prefix = parsePrefix(address);
        return prefix?.address.family === 4
          ? [
              `${ownPrefix}${[...ipBytes(prefix.address)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`,
            ]
          : [];
      });
      if (isPod && wanted.startsWith(ownPrefix) && !derived.includes(wanted))
        throw taken(
          network,
          wanted,
          `addresses that begin with ${ownPrefix.slice(0, -1)} are assigned by Portcullis`,
        );
      const holder = (selectOfPlugins.get(namespaceId, network, wanted, containerId, name) ??
        selectOfPods.get(namespaceId, network, wanted)) as { container_id: string } | undefined;
      if (holder !== undefined)
        throw taken(network, wanted, `container ${holder.container_id} has it on this network`);
      const link = listSettings(route).find(({ mac }) => mac === wanted);
      if (link !== undefined) throw taken(network, wanted, `the link ${link.name} of the host has it`);
    },
  };
}

function taken(network: string, mac: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_MAC_TAKEN',
    kind: 'already-exists',
    attempted: `give an interface of the network ${network} the MAC address`,
    on: mac,
    why,
    fix: 'ask for another MAC address, or for none',
    details: { mac, network },
  });
}
