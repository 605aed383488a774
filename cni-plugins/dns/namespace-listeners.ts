import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { NameCounts } from './figures.ts';
import { createForwarder } from './forwarder.ts';
import type { ForwardLimits } from './forwarder.ts';
import type { HostNamespace } from './host-namespace.ts';
import { openDnsListener } from './listener.ts';
import type { DnsListener } from './listener.ts';
import type { NameTable } from './name-table.ts';
import { createQueryHandler } from './query-handler.ts';
import type { QueryHandlerOptions } from './query-handler.ts';
import { createAskerLimits, rateOfPods, ratePerPod } from './rate-limits.ts';
import type { ServedNetwork } from './served-networks.ts';

/** The listeners at the gateways of one host network namespace, and the sockets to other name servers. */
export interface NamespaceListeners {
  /** Opens and closes listeners to match the networks of this namespace. */
  follow(networks: readonly ServedNetwork[]): void;
  /** Closes idle sockets. */
  rest(): void;
  gateways(): readonly ListeningGateway[];
  /** Whether an address is a gateway of these networks, and of this host. */
  isGateway(address: IpAddress): boolean;
  close(): void;
}

export interface NamespaceListenersOptions {
  readonly settings: QueryHandlerOptions['settings'];
  readonly upstreams: QueryHandlerOptions['upstreams'];
  readonly table: Pick<NameTable, 'changed' | 'isAttached' | 'seenBy'>;
  readonly port: number;
  readonly limits: ForwardLimits;
  readonly figures: Pick<NameCounts, 'query' | 'forward'>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** All askers together that no attachment is known for, such as pods of other plugins on the same bridge. */
const rateOfOthers = ratePerPod;

/**
 * The code for a gateway that is not an address of this host. It belongs to another host, such as a router
 * that may be the name server of this node, or is still being added to this host.
 */
const notHere = 'KERNEL_EADDRNOTAVAIL';

/** A gateway. */
export interface ListeningGateway {
  networks: readonly ServedNetwork[];
  /** Absent: no listener could be opened. */
  listener?: DnsListener;
  /** The last problem that was logged. */
  problem?: string;
}

/** Opens nothing before the first networks. */
export function createNamespaceListeners(
  place: HostNamespace,
  options: NamespaceListenersOptions,
): NamespaceListeners {
  const { table, settings, upstreams, port, limits, figures, log } = options;
  const forwarder = createForwarder(place, limits, figures.forward);
  const gateways = new Map<string, ListeningGateway>();
  const rates = createAskerLimits(ratePerPod, rateOfOthers, rateOfPods);
  const isGateway = (address: IpAddress): boolean => {
    const gateway = gateways.get(formatIp(address));
    return gateway !== undefined && gateway.problem !== notHere;
  };

  let handler: ReturnType<typeof createQueryHandler> | undefined;
  const handlerInUse = (): ReturnType<typeof createQueryHandler> => {
    const isOwn = (address: IpAddress): boolean => limits.port === undefined && isGateway(address);
    handler ??= createQueryHandler({ table, settings, upstreams, forwarder, isOwn, report: figures.query });
    return handler;
  };

  const open = (text: string, address: IpAddress, existing: ListeningGateway): void => {
    const handler = handlerInUse();
    const fields = { address: text, networks: existing.networks.map(({ name }) => name) };
    try {
      existing.listener = openDnsListener({
        place,
        address,
        port,
        // Changes that were committed before a question arrived are in its answer.
        onQueriesReceived: () => void table.changed(),
        onQuery(received) {
          const asker = formatIp(received.asker);
          // The host itself asks from the address of a gateway.
          const isKnown = gateways.has(asker) || table.isAttached(received.asker, place.namespaceId);
          const begun = performance.now();
          if (!rates.admits(asker, isKnown, begun)) {
            figures.query('ignored');
            return received.reply(undefined);
          }
          handler(received, existing.networks);
          rates.took(asker, isKnown, performance.now() - begun);
        },
        onFailure(why) {
          delete existing.listener;
          log.warn({ ...fields, why }, 'names are no longer answered at the gateway of a network; retrying');
        },
      });
      if (existing.problem !== undefined)
        log.info(fields, 'names are now answered at the gateway of a network');
      delete existing.problem;
    } catch (thrown) {
      const problem = isPortcullisError(thrown) ? thrown.code : 'INTERNAL';
      const why =
        problem === 'KERNEL_EADDRINUSE'
          ? 'another name server listens on port 53 of this address or of all addresses'
          : reasonOf(thrown);
      if (existing.problem !== problem && problem !== notHere)
        log.warn({ ...fields, why }, 'names cannot be answered at the gateway of a network; retrying');
      existing.problem = problem;
    }
  };

  return {
    follow(networks) {
      const wanted = new Map<string, { address: IpAddress; networks: ServedNetwork[] }>();
      for (const network of networks) {
        for (const address of network.gateways) {
          const text = formatIp(address);
          const entry = wanted.get(text) ?? { address, networks: [] };
          entry.networks.push(network);
          wanted.set(text, entry);
        }
      }
      for (const [text, { listener }] of gateways) {
        if (wanted.has(text)) continue;
        listener?.close();
        gateways.delete(text);
      }
      for (const [text, { address, networks: those }] of wanted) {
        const existing = gateways.get(text) ?? { networks: those };
        existing.networks = those;
        gateways.set(text, existing);
        if (existing.listener === undefined) open(text, address, existing);
      }
    },
    rest: () => forwarder.rest(),
    gateways: () => [...gateways.values()],
    isGateway,
    close() {
      for (const { listener } of gateways.values()) listener?.close();
      forwarder.close();
    },
  };
}
