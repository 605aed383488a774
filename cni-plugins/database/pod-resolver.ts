import { PortcullisError } from '../../base/errors/index.ts';
import { contains, formatIp, parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { NetworkDatabase } from './database.ts';

/**
 * The name servers of one pod: the gateways of a network that it is attached to. Call it inside a
 * transaction.
 */
export interface PodResolver {
  /**
   * Returns the gateways, and records the other servers that are queried on the pod's behalf until its
   * attachment ends. Texts that are not addresses are ignored, and so are addresses that mean the host itself
   * here: a pod does not reach its loopback.
   * @returns the gateways: IPv4 first
   * @throws NETWORK_NOT_ON_NETWORK
   */
  ask(containerId: string, network: string, upstreams: readonly string[]): readonly string[];
}

const mostUpstreams = 8;

/**
 * Loopback, `this host`, multicast groups, and IPv6 forms of IPv4 addresses (RFC 4291, section 2.5.5.2): the
 * kernel sends to these over IPv4, also to the loopback.
 */
const notForPods = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3', '::/127', '::ffff:0:0/96', 'ff00::/8'].flatMap(
  (text) => parsePrefix(text) ?? [],
);
const isForPods = (address: IpAddress): boolean => !notForPods.some((prefix) => contains(prefix, address));

export function createPodResolver({ db }: Pick<NetworkDatabase, 'db'>, namespaceId: string): PodResolver {
  const selectAttachments = db.prepare(
    "SELECT number FROM attachment WHERE realm = ? AND container_id = ? AND network = ? AND state <> 'detaching' ORDER BY number",
  );
  const selectGateways = db.prepare(
    `SELECT json_extract(ip.value, '$.gateway') AS gateway FROM attachment JOIN json_each(spec, '$.addresses') AS ip
     WHERE number = ?1 AND origin = 'pod'
     UNION
     SELECT json_extract(ip.value, '$.gateway') FROM part JOIN json_each(result, '$.ips') AS ip WHERE attachment = ?1`,
  );
  const remove = db.prepare('DELETE FROM upstream WHERE attachment = ?');
  const insert = db.prepare('INSERT INTO upstream (attachment, position, address) VALUES (?, ?, ?)');
  return {
    ask(containerId, network, upstreams) {
      const rows = selectAttachments.all(namespaceId, containerId, network) as unknown as {
        number: number;
      }[];
      const gateways = rows.flatMap(({ number }) =>
        (selectGateways.all(number) as unknown as { gateway: unknown }[]).flatMap(({ gateway }) =>
          typeof gateway === 'string' ? (parseIp(gateway) ?? []) : [],
        ),
      );
      if (gateways.length === 0) throw notOnNetwork(containerId, network, rows.length > 0);
      const servers = upstreams
        .flatMap((text) => parseIp(text) ?? [])
        .filter(isForPods)
        .slice(0, mostUpstreams);
      for (const { number } of rows) {
        remove.run(number);
        servers.forEach((server, position) => insert.run(number, position, formatIp(server)));
      }
      return [...new Set(gateways.toSorted((a, b) => a.family - b.family).map(formatIp))];
    },
  };
}

function notOnNetwork(id: string, network: string, isAttached: boolean): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NOT_ON_NETWORK',
    kind: 'precondition',
    attempted: `let the pod resolve names of the network ${network}`,
    on: id.slice(0, 13),
    why: isAttached ? 'the network has no gateway' : 'the pod is not attached to it',
    fix: 'name a bridge network that the pod is attached to, or remove the annotation portcullis.dev/dns',
  });
}
