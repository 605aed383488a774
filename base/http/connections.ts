import { lookup as systemLookup } from 'node:dns';
import type { LookupAddress, LookupOptions } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { createSecureContext, getCACertificates } from 'node:tls';
import type { SecureContext } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type * as undici from 'undici';
import { classOfAddress, classOfHost } from './address.ts';
import type { AddressClass } from './address.ts';
import { asProxyError, httpError } from './failure.ts';
import { describeClass, mayReach } from './redirects.ts';
import type { Reach } from './redirects.ts';
import { proxyRulesOf } from './proxy-environment.ts';
import { intoOneBuffer, passInPlace } from './receive-in-place.ts';
import type { Environment } from './proxy-environment.ts';
import type { TlsIdentity } from './tls-identity.ts';
import { sharedTrustAnchors } from './trust-anchors.ts';
import type { Anchors, TrustAnchors } from './trust-anchors.ts';
import { Agent, Pool, ProxyAgent, buildConnector } from './undici.ts';

export interface ConnectionOptions {
  /** Milliseconds to resolve a name, connect and complete the TLS handshake. */
  readonly connectMs: number;
  /** Maximum number of connections to one origin. */
  readonly most: number;
  readonly environment: Environment;
  readonly lookup?: LookupFunction;
  readonly anchors?: TrustAnchors;
  /** Milliseconds without data after which the kernel probes a connection. */
  readonly probeAfterMs: number;
  /** As in the options of the client. */
  readonly receiveBytes?: number;
}

/** Keeps connections, and records the addresses that they reached. */
export interface Connections {
  /** @throws HTTP_ADDRESS_REFUSED · HTTP_BAD_PROXY */
  dispatcherFor(url: URL, reach: Reach, identity: TlsIdentity | undefined): Promise<undici.Dispatcher>;
  /**
   * Returns the class of a server: the class of the address in the URL, otherwise of the addresses of all
   * connections to it.
   */
  classOf(url: URL): AddressClass;
  close(): Promise<void>;
}

/** The limits of each connection: bytes of a head, and milliseconds without a request. */
const limitsOfEach = { maxHeaderSize: 32 * 1024, keepAliveTimeout: 15_000, allowH2: false };

type ConnectedTo = LRUCache<string, ReadonlySet<AddressClass>>;

/** Keyed by origin. An evicted entry counts as `elsewhere`, which allows the least. */
const newRecord = (): ConnectedTo => new LRUCache({ max: 1000 });

/**
 * Shared by all clients of this thread, because a server that one client has asked can name a URL for
 * another.
 */
const connectedBySystem = newRecord();

/** The TLS contexts of the identities in use. */
function createContexts() {
  const contexts = new LRUCache<string, SecureContext>({ max: 16 });

  /** undefined: Node's own authorities are enough. All contexts share them. */
  function of(
    identity: TlsIdentity | undefined,
    { id, certificates }: Anchors,
  ): { id: string; context?: SecureContext } {
    const system = identity?.only === true && identity.ca !== undefined ? [] : certificates;
    if (identity === undefined && system.length === 0) return { id: '' };
    const key = JSON.stringify([identity?.id ?? '', id]);
    const kept = contexts.get(key);
    if (kept !== undefined) return { id: key, context: kept };
    const { ca = [], cert, key: secret } = identity ?? {};
    const node = identity?.only === true && identity.ca !== undefined ? [] : getCACertificates('default');
    const all = [...node, ...system, ...ca];
    const context = createSecureContext({
      ca: all,
      ...(cert === undefined ? {} : { cert: typeof cert === 'string' ? cert : [...cert] }),
      ...(secret === undefined ? {} : { key: typeof secret === 'string' ? secret : [...secret] }),
    });
    contexts.set(key, context);
    return { id: key, context };
  }

  return { of, clear: () => contexts.clear() };
}

export function openConnections(options: ConnectionOptions): Connections {
  const proxies = proxyRulesOf(options.environment);
  const anchors = options.anchors ?? sharedTrustAnchors(options.environment);
  const lookup = options.lookup ?? systemLookup;
  const connected = options.lookup === undefined ? connectedBySystem : newRecord();
  const contexts = createContexts();
  const closing = new Set<Promise<unknown>>();
  const dispatchers = new LRUCache<string, undici.Dispatcher>({
    max: 64,
    // Requests that still run on the old connections end there.
    dispose: (old) => {
      const closed: Promise<unknown> = old
        .close()
        .catch(() => undefined)
        .finally(() => closing.delete(closed));
      closing.add(closed);
    },
  });
  let isClosed = false;

  const limits = { connections: options.most, ...limitsOfEach };

  function direct(reach: Reach, tls: undici.buildConnector.BuildOptions): undici.Dispatcher {
    const connect = buildConnector({
      timeout: options.connectMs,
      keepAliveInitialDelay: options.probeAfterMs,
      allowH2: false,
      lookup: judged(lookup, reach),
      ...tls,
      ...(options.receiveBytes === undefined ? {} : intoOneBuffer(options.receiveBytes)),
    });
    const agent = new Agent({
      ...limits,
      connect: (target, callback) => {
        connect(target, (error, socket) => {
          if (error !== null) return callback(error, null);
          const url = new URL(`${target.protocol}//${target.host ?? target.hostname}`);
          const found = classOfAddress(socket.remoteAddress ?? '');
          // The address of the connection itself is checked again. The first check saw only the resolver's
          // answer.
          if (!mayReach(reach, found)) {
            socket.destroy();
            return callback(refused(url, found), null);
          }
          connected.set(url.origin, new Set([...(connected.get(url.origin) ?? []), found]));
          callback(null, socket);
        });
      },
    });
    return agent.compose(passInPlace);
  }

  function proxied(
    proxy: URL,
    tls: undici.buildConnector.BuildOptions,
    anchorTls: undici.buildConnector.BuildOptions,
  ): undici.ProxyAgent {
    // undici sets no limits for connections to the proxy.
    const pool = (origin: string | URL, more: PoolParts): undici.Pool =>
      new Pool(origin, {
        ...limits,
        headersTimeout: options.connectMs * 2,
        ...(new URL(origin).origin === proxy.origin ? namingProxy(proxy, more) : more),
      });
    const timeout = options.connectMs;
    return new ProxyAgent({
      ...limits,
      uri: proxy.href,
      factory: pool,
      clientFactory: pool,
      proxyTls: { timeout, keepAliveInitialDelay: options.probeAfterMs, ...anchorTls },
      requestTls: { timeout, allowH2: false, ...tls },
    });
  }

  return {
    async dispatcherFor(url, reach, identity) {
      const target = classOfHost(url.hostname);
      if (target !== 'name' && !mayReach(reach, target)) throw refused(url, target);
      const proxy = proxies.proxyFor(url);
      const isTls = url.protocol === 'https:' || proxy?.protocol === 'https:';
      const found = isTls ? await anchors.current() : { id: '', certificates: [] };
      const own = url.protocol === 'https:' ? identity : undefined;
      const { id, context } = isTls ? contexts.of(own, found) : { id: '' };
      const key = JSON.stringify([id, own?.id, proxy === undefined ? reach : proxy.href]);
      if (isClosed) throw httpError('HTTP_UNREACHABLE', url, `${url.host}: the client was closed`);
      const kept = dispatchers.get(key);
      if (kept !== undefined) return kept;
      const tls = {
        ...(context === undefined ? {} : { secureContext: context }),
        ...(own?.servername === undefined ? {} : { servername: own.servername }),
      };
      const plain = proxy?.protocol === 'https:' ? contexts.of(undefined, found).context : undefined;
      const made =
        proxy === undefined
          ? direct(reach, tls)
          : proxied(proxy, tls, plain === undefined ? {} : { secureContext: plain });
      dispatchers.set(key, made);
      return made;
    },

    classOf(url) {
      const literal = classOfHost(url.hostname);
      if (literal !== 'name') return literal;
      const [only, ...others] = connected.get(url.origin) ?? [];
      return only === undefined || others.length > 0 ? 'elsewhere' : only;
    },

    async close() {
      isClosed = true;
      await Promise.all([...dispatchers.values()].map((one) => one.destroy()));
      dispatchers.clear();
      contexts.clear();
      await Promise.all(closing);
    },
  };
}

type PoolParts = Readonly<{ connect?: undici.buildConnector.connector }>;

/** A connection to a proxy fails with an error that names the proxy. */
function namingProxy(proxy: URL, more: PoolParts): PoolParts {
  const { connect } = more;
  if (connect === undefined) return more;
  return {
    ...more,
    connect: (target, callback) =>
      connect(target, (error, socket) =>
        error === null ? callback(null, socket) : callback(asProxyError(error, proxy), null),
      ),
  };
}

function refused(url: URL, found: AddressClass): Error {
  return httpError('HTTP_ADDRESS_REFUSED', url, `${url.host} leads to ${describeClass(found)}`, {
    details: { host: url.host, class: found },
  });
}

/** Resolves a name, and returns its addresses only if every one of them may be connected to. */
function judged(lookup: LookupFunction, reach: Reach): LookupFunction {
  if (reach === 'any') return lookup;
  return (hostname, options: LookupOptions, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const found: readonly LookupAddress[] = Array.isArray(addresses) ? addresses : [];
      if (error !== null) return callback(error, options.all === true ? [] : '');
      const bad = found.map(({ address }) => classOfAddress(address)).find((one) => !mayReach(reach, one));
      if (bad !== undefined)
        return callback(refused(new URL(`http://${hostname}`), bad), options.all === true ? [] : '');
      const [first] = found;
      if (options.all === true || first === undefined) return callback(null, [...found]);
      callback(null, first.address, first.family);
    });
  };
}
