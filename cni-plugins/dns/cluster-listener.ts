import { networkInterfaces } from 'node:os';
import type { Logger } from '../../base/log/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { ClusterNames } from '../cluster-names/table.ts';
import { decideForCluster } from './cluster-decide.ts';
import type { ClusterZone } from './cluster-decide.ts';
import type { NameCounts } from './figures.ts';
import { createForwarder } from './forwarder.ts';
import type { ForwardLimits } from './forwarder.ts';
import { openDnsListener } from './listener.ts';
import type { DnsListener } from './listener.ts';
import type { NameTable, Seen } from './name-table.ts';
import { putNodeAddress } from './node-address.ts';
import { ownNamespace } from './open-namespaces.ts';
import { createQueryHandler } from './query-handler.ts';
import { createAskerLimits, createRateLimits, rateOfPods, ratePerPod } from './rate-limits.ts';

/** The listener for the pods of this node, at an address that exists on each node and on no link. */
export interface ClusterListener {
  /** Opens the listener if it is not open, and closes idle sockets. */
  rest(): void;
  counts(): { readonly listeners: number; readonly closedListeners: number };
  close(): void;
}

export interface ClusterListenerOptions {
  readonly address: IpAddress;
  readonly zone: ClusterZone;
  readonly names: ClusterNames;
  readonly table: Pick<NameTable, 'changed' | 'isRemembered' | 'seenOnHost'>;
  readonly upstreams: () => readonly IpAddress[];
  /**
   * Whether names of networks are answered at the address. It is never asked: there the question would come
   * from the host, which sees the names of each network.
   */
  readonly isGateway: (address: IpAddress) => boolean;
  readonly port: number;
  readonly limits: ForwardLimits;
  readonly figures: Pick<NameCounts, 'query' | 'forward'>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

const hostAddressesMs = 5000;
/** All askers together that are neither pods of this node nor the node. */
const forUnknown = { rate: 200, burst: 400, share: 0.02 };
/**
 * Look-ups of the pods of this node after a change, each at most once. A sender that takes their addresses
 * makes us look up all of them.
 */
const forLookUps = { rate: 500, burst: 1000, share: 0.2 };
/** The host itself, and pods in its network namespace. */
const host: Seen = { isAttached: true, networks: [], mayForward: true, upstreams: [] };

/** In the network namespace of this thread. Failures are logged, and `rest` tries again. */
export function openClusterListener(options: ClusterListenerOptions): ClusterListener {
  const { address, zone, names, table, upstreams, isGateway, port, limits, figures, log } = options;
  const place = ownNamespace();
  const forwarder = createForwarder(place, limits, figures.forward);
  const rates = createAskerLimits(ratePerPod, forUnknown, rateOfPods);
  const lookUps = createRateLimits(forLookUps);
  const own = formatIp(address);
  const fields = { address: own, domain: zone.domain };
  let hostAddresses: ReadonlySet<string> = new Set();
  let hostAddressesAt = -Infinity;
  let listener: DnsListener | undefined;
  let problem: string | undefined;
  /** Why the address could not be restored at the last attempt. */
  let lost: string | undefined;

  const isHost = (asker: string): boolean => {
    if (asker === own) return true;
    if (performance.now() - hostAddressesAt > hostAddressesMs) {
      hostAddressesAt = performance.now();
      hostAddresses = new Set(
        Object.values(networkInterfaces()).flatMap((each = []) => each.map(({ address: text }) => text)),
      );
    }
    return hostAddresses.has(asker);
  };

  const seenFrom = (asker: IpAddress): Seen | undefined =>
    table.seenOnHost(asker, place.namespaceId) ?? (isHost(formatIp(asker)) ? host : undefined);

  const answer = createQueryHandler({
    seenFrom,
    cluster: (asked) => decideForCluster(asked, names, zone),
    settings: zone,
    forwarder,
    upstreams,
    isOwn: (server) => limits.port === undefined && (formatIp(server) === own || isGateway(server)),
    report: figures.query,
  });

  function open(): void {
    try {
      putNodeAddress(address);
      listener = openDnsListener({
        place,
        address,
        port,
        onQueriesReceived: () => void table.changed(),
        onQuery(received) {
          const asker = formatIp(received.asker);
          // The first question after a change also reads all addresses. This time counts towards the limit of
          // no asker.
          const isRemembered = table.isRemembered(received.asker, place.namespaceId);
          const begun = performance.now();
          if (!isRemembered) {
            if (!lookUps.admits('', begun)) {
              figures.query('ignored');
              return received.reply(undefined);
            }
            table.seenOnHost(received.asker, place.namespaceId);
            lookUps.took('', performance.now() - begun);
          }
          const isKnown = seenFrom(received.asker) !== undefined;
          if (!rates.admits(asker, isKnown, begun)) {
            figures.query('ignored');
            return received.reply(undefined);
          }
          answer(received, []);
          // Names of a service with thousands of endpoints take milliseconds to find and to encode.
          rates.took(asker, isKnown, performance.now() - begun);
        },
        onFailure(why) {
          listener = undefined;
          log.warn({ ...fields, why }, 'cluster names are no longer answered; retrying');
        },
      });
      if (problem !== undefined) log.info(fields, 'cluster names are now answered');
      problem = undefined;
    } catch (thrown) {
      const why =
        isPortcullisError(thrown) && thrown.code === 'KERNEL_EADDRINUSE'
          ? 'another name server listens on port 53 of this address or of all addresses'
          : reasonOf(thrown);
      if (why !== problem) log.warn({ ...fields, why }, 'cluster names cannot be answered; retrying');
      problem = why;
    }
  }
  open();

  return {
    rest() {
      forwarder.rest();
      if (listener === undefined) open();
      else
        try {
          // Another program may have flushed the link's addresses.
          putNodeAddress(address);
          lost = undefined;
        } catch (thrown) {
          // The host now has the address on a link of its own, and its services at this address are not ours.
          if (isPortcullisError(thrown) && thrown.code === 'NETWORK_DNS_ADDRESS_TAKEN') {
            listener.close();
            listener = undefined;
          }
          const why = reasonOf(thrown);
          if (why !== lost)
            log.warn({ ...fields, why }, 'the address of the name server could not be restored; retrying');
          // A listener that is closed reports its own problem.
          lost = listener === undefined ? undefined : why;
        }
    },
    counts: () => ({
      listeners: listener === undefined ? 0 : 1,
      closedListeners: listener === undefined ? 1 : 0,
    }),
    close() {
      listener?.close();
      forwarder.close();
    },
  };
}
