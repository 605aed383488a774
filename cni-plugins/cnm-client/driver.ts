import { closeFd } from '../../base/kernel/index.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { DriverVerb, ReplyOf, RequestOf } from '../cnm/protocol.ts';
import { findDriver } from './discover.ts';
import type { DriverFolders } from './discover.ts';
import { driverProtocol } from './failures.ts';
import { exchange } from './transport.ts';

/** A remote driver of libnetwork's, for the length of one call of ours. */
export interface RemoteDriver {
  readonly name: string;
  /**
   * A driver that does not listen yet is waited for, longer each time, `patienceMs` in all. A request that was sent is never sent
   * again: whether the driver acted is not known then.
   * @throws NETWORK_CNM_*
   */
  call<Verb extends DriverVerb>(verb: Verb, request: RequestOf<Verb>): Promise<ReplyOf<Verb>>;
  /** Success also when the driver does not know the verb. */
  tell(verb: DriverVerb, request: object): Promise<void>;
  /** The network namespace in which its links are; undefined where that can not be told (TCP): the caller's. */
  readonly netnsFd: number | undefined;
  close(): void;
}

export interface DriverOptions {
  readonly folders: DriverFolders;
  /** Prefix of paths: the caller's root folder. */
  readonly root: string;
  /** How long a driver that does not listen is waited for. */
  readonly patienceMs: number;
  /** For one answer. */
  readonly timeoutMs: number;
}

/**
 * Finds the driver and shakes hands (Plugin.Activate).
 * @throws NETWORK_CNM_*: it is not there, does not answer, or is no driver of that kind
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
        if (!isAbsence(thrown) || performance.now() + pauseMs > until) throw thrown;
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
    async tell(verb, request) {
      try {
        await patiently(verb, request);
      } catch (thrown) {
        if (!isPortcullisError(thrown) || thrown.code !== 'NETWORK_CNM_VERB_UNKNOWN') throw thrown;
      }
    },
    close,
  };
  try {
    const kinds: unknown = (await patiently('Plugin.Activate', {}))['Implements'];
    if (!Array.isArray(kinds) || !kinds.includes(implemented)) {
      const why = `it implements ${JSON.stringify(kinds ?? null)}, not ${implemented}`;
      throw driverProtocol(name, 'Plugin.Activate', why, Array.isArray(kinds) ? elsewhere[implemented] : undefined);
    }
    return driver;
  } catch (thrown) {
    close();
    throw thrown;
  }
}

/** What to do about a driver of another kind: the configuration names it, and may name one that has this. */
const elsewhere = {
  IpamDriver: 'name a driver of addresses in ipam.driver, or have another plugin choose them (ipam.type)',
  NetworkDriver: 'name a driver of networks in driver',
} as const;

/** Nobody heard the request. */
export const isAbsence = (thrown: unknown): boolean =>
  isPortcullisError(thrown) &&
  (thrown.code === 'NETWORK_CNM_DRIVER_UNKNOWN' ||
    (thrown.code === 'NETWORK_CNM_DRIVER_UNREACHABLE' && thrown.failure.details?.['sent'] === false));
