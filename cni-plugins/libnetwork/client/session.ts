import { isPortcullisError } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { CallPlugin, Caller, PluginCall } from '../../calls/plugin-call.ts';
import type { RemoteChange, RemoteRecords } from '../../database/remote-store.ts';
import { wholeDocuments } from './damaged-documents.ts';
import type { CallFacts } from './damaged-documents.ts';
import type { DriverRef, EndpointDocument, NetworkDocument } from './documents.ts';
import { openDriver } from './driver.ts';
import type { RemoteDriver } from './driver.ts';

/** The part of the engine's Worker that remote drivers need. */
export interface RemoteEngine {
  /** Bypasses this folder: the kernel's half of a call. */
  readonly callPlugin: CallPlugin;
  /** Returns the records of a network, or of all networks, in the caller's host network namespace. */
  records(caller: Caller, network: string): Promise<RemoteRecords & { readonly namespaceId: string }>;
  networks(): Promise<readonly string[]>;
  write(change: RemoteChange): Promise<void>;
}

export interface Endpoint {
  readonly namespaceId: string;
  readonly containerId: string;
  readonly interface: string;
  readonly document: EndpointDocument;
  /** Whether no CNI runtime knows the attachment, when the session was opened. */
  readonly isOfDaemon?: boolean;
}

/**
 * One call of ours that holds the lock of a network: the records of the network, and the drivers that were
 * contacted so far.
 */
export interface Session {
  readonly network: string;
  readonly caller: Caller;
  readonly namespaceId: string;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  readonly engine: RemoteEngine;
  networkDocuments(): readonly { readonly namespaceId: string; readonly document: NetworkDocument }[];
  endpoints(): readonly Endpoint[];
  putNetwork(namespaceId: string, document: NetworkDocument | undefined): Promise<void>;
  putEndpoint(at: Omit<Endpoint, 'document'>, document: EndpointDocument | undefined): Promise<void>;
  /** Returns a driver. It is discovered, and the handshake performed, only once. @throws NETWORK_CNM_* */
  driver(ref: DriverRef, kind: 'IpamDriver' | 'NetworkDriver'): Promise<RemoteDriver>;
  /** Returns the caller for the kernel's half: it acts in the namespace of the driver's links. */
  actingIn(driver: RemoteDriver | undefined): Caller;
  close(): void;
}

export interface SessionOptions {
  readonly engine: RemoteEngine;
  readonly network: string;
  readonly caller: Caller;
  readonly patienceMs: number;
  readonly timeoutMs: number;
  /** Absent: the call names no configuration. */
  readonly facts?: CallFacts;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Reads the records of the network. @throws the errors of the engine */
export async function openSession({
  engine,
  network,
  caller,
  patienceMs,
  timeoutMs,
  facts,
  log,
}: SessionOptions): Promise<Session> {
  const { namespaceId, ...records } = await engine.records(caller, network);
  const { networks, endpoints } = wholeDocuments(network, records, facts);
  const known = new Map(networks.map((each) => [each.namespaceId, each.document]));
  const keyOf = (at: Omit<Endpoint, 'document'>): string =>
    [at.namespaceId, at.containerId, at.interface].join('\0');
  const attached = new Map(endpoints.map((each): [string, Endpoint] => [keyOf(each), each]));
  const drivers = new Map<string, Promise<RemoteDriver>>();
  const root = caller.rootFd === undefined ? '' : `/proc/self/fd/${caller.rootFd}`;
  return {
    network,
    caller,
    namespaceId,
    log,
    engine,
    networkDocuments: () => [...known].map(([of, document]) => ({ namespaceId: of, document })),
    endpoints: () => [...attached.values()],
    async putNetwork(of, document) {
      await engine.write({ namespaceId: of, network, ...(document !== undefined && { document }) });
      if (document === undefined) known.delete(of);
      else known.set(of, document);
    },
    async putEndpoint(at, document) {
      const { containerId, interface: name } = at;
      await engine.write({
        namespaceId: at.namespaceId,
        network,
        endpoint: { containerId, interface: name },
        ...(document !== undefined && { document }),
      });
      if (document === undefined) attached.delete(keyOf(at));
      else attached.set(keyOf(at), { ...at, document });
    },
    driver({ name, folders }, kind) {
      const key = JSON.stringify([name, folders, kind]);
      const opened = drivers.get(key) ?? openDriver(name, kind, { folders, root, patienceMs, timeoutMs });
      drivers.set(key, opened);
      return opened;
    },
    actingIn: (driver) => (driver?.netnsFd === undefined ? caller : { ...caller, netnsFd: driver.netnsFd }),
    close() {
      for (const opened of drivers.values())
        opened.then(
          (driver) => driver.close(),
          () => undefined,
        );
    },
  };
}

/** Returns the endpoint of a call's attachment in the caller's host network namespace. */
export const endpointOf = (session: Session, { key }: Pick<PluginCall, 'key'>): Endpoint | undefined =>
  session
    .endpoints()
    .find(
      (each) =>
        each.namespaceId === session.namespaceId &&
        each.containerId === key.containerId &&
        each.interface === key.interface,
    );

export const hasCode = (thrown: unknown, ...codes: readonly string[]): boolean =>
  isPortcullisError(thrown) && codes.includes(thrown.code);

/** Returns whether the driver answered with a refusal: it has no such object, or does not know the verb. */
export const isRefused = (thrown: unknown): boolean =>
  hasCode(thrown, 'NETWORK_CNM_DRIVER_REFUSED', 'NETWORK_CNM_VERB_UNKNOWN', 'NETWORK_CNM_PROTOCOL');
