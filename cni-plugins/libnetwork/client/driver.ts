import { closeFd } from '../../../base/kernel/index.ts';
import { isPortcullisError, codeIs, tolerate } from '../../../base/errors/index.ts';
import type { DriverVerb, ReplyOf, RequestOf } from '../protocol/protocol.ts';
import { findDriver } from './discover.ts';
import type { DriverFolders } from './discover.ts';
import { driverProtocol } from './failures.ts';
import { exchange } from './transport.ts';

/** A remote driver of libnetwork, for the duration of one call of ours. */
export interface RemoteDriver {
  readonly name: string;
  /**
   * Sends a request. If the driver does not listen yet, this waits with growing pauses, `patienceMs` in
   * total. A request that was sent is never sent again, because it is not known then whether the driver
   * acted.
   * @throws NETWORK_CNM_*
   */
  call<Verb extends DriverVerb>(verb: Verb, request: RequestOf<Verb>): Promise<ReplyOf<Verb>>;
  /** Like `call`, but succeeds also if the driver does not know the verb. */
  notify(verb: DriverVerb, request: object): Promise<void>;
  /**
   * The network namespace in which the driver's links are. Undefined if it cannot be determined (TCP); then
   * the caller's is used.
   */
  readonly netnsFd: number | undefined;
  close(): void;
}

export interface DriverOptions {
  readonly folders: DriverFolders;
  /** Prefix of paths: the caller's root folder. */
  readonly root: string;
  /** How long to wait for a driver that does not listen. */
  readonly patienceMs: number;
  /** Time limit for one answer. */
  readonly timeoutMs: number;
}

/**
 * Finds the driver and performs the handshake (Plugin.Activate).
 * @throws NETWORK_CNM_*: the driver is missing, does not answer, or is not a driver of that type
 */
export async function openDriver(
  name: string,
  implemented: 'IpamDriver' | 'NetworkDriver',
  { folders, root, patienceMs, timeoutMs }: DriverOptions,
): Promise<RemoteDriver> {
  let netnsFd: number | undefined;
  const until = performance.now() + patienceMs;
  const attempt = (verb: DriverVerb, request: object): Promise<Readonly<Record<string, unknown>>> =>
    exchange({
      place: findDriver(name, folders, root),
      verb,
      body: request,
      timeoutMs,
      ...(netnsFd === undefined && { onNamespace: (fd: number) => (netnsFd = fd) }),
    });
  const patiently = async (verb: DriverVerb, request: object): Promise<Readonly<Record<string, unknown>>> => {
    for (let pauseMs = 100; ; pauseMs = Math.min(2 * pauseMs, 2000)) {
      try {
        return await attempt(verb, request);
      } catch (thrown) {
        if (!wasNotReceived(thrown) || performance.now() + pauseMs > until) throw thrown;
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  const close = (): void => {
    if (netnsFd !== undefined) closeFd(netnsFd);
    netnsFd = undefined;
  };
  const driver: RemoteDriver = {
    name,
    get netnsFd() {
      return netnsFd;
    },
    async call(verb, request) {
      return await patiently(verb, request);
    },
    async notify(verb, request) {
      await tolerate(codeIs('NETWORK_CNM_VERB_UNKNOWN'), () => patiently(verb, request));
    },
    close,
  };
  try {
    const kinds: unknown = (await patiently('Plugin.Activate', {}))['Implements'];
    if (!Array.isArray(kinds) || !kinds.includes(implemented)) {
      const why = `it implements ${JSON.stringify(kinds ?? null)}, not ${implemented}`;
      throw driverProtocol(
        name,
        'Plugin.Activate',
        why,
        Array.isArray(kinds) ? elsewhere[implemented] : undefined,
      );
    }
    return driver;
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/**
 * The advice for a driver that lacks the type: the configuration names the driver, and can name another one
 * that has it.
 */
const elsewhere = {
  IpamDriver: 'name a driver of addresses in ipam.driver, or have another plugin choose them (ipam.type)',
  NetworkDriver: 'name a driver of networks in driver',
} as const;

/** Returns whether no process received the request. */
export const wasNotReceived = (thrown: unknown): boolean =>
  isPortcullisError(thrown) &&
  (thrown.code === 'NETWORK_CNM_DRIVER_UNKNOWN' ||
    (thrown.code === 'NETWORK_CNM_DRIVER_UNREACHABLE' && thrown.failure.details?.['sent'] === false));
