import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { bootOf } from '../../namespaces/namespace-id.ts';
import type { DriverVerb } from '../protocol/protocol.ts';
import { mostRefusals } from './documents.ts';
import type { EndpointDocument, NetworkDocument, PoolDocument } from './documents.ts';
import { wasNotReceived } from './driver.ts';
import type { RemoteDriver } from './driver.ts';
import { hasCode, isRefused } from './session.ts';
import type { Endpoint, Session } from './session.ts';

/**
 * Takes back, in the order of libnetwork, everything that was created or may have been:
 * ProgramExternalConnectivity, Join, the link, CreateEndpoint, addresses; with the last endpoint also the
 * network and its pools. After a crash, another call does what remains.
 */

/**
 * Removes an endpoint.
 * @throws NETWORK_CNM_DRIVER_UNREACHABLE: nothing was changed · NETWORK_CNM_DRIVER_REFUSED, fewer than
 * {@link mostRefusals} times: what remains is recorded · NETWORK_IPAM_FAILED: the lease of an IPAM plugin
 * remains, and everything that needs the missing driver. A driver that is no longer installed causes no
 * error: its remaining objects are removed when it is installed again.
 */
export async function removeEndpoint(session: Session, endpoint: Endpoint): Promise<void> {
  const document = { ...endpoint.document, state: 'removing' as const };
  if (endpoint.document.state !== 'removing') await session.putEndpoint(endpoint, document);
  const driver = await driverOrNone(session, endpoint);
  const ids = { NetworkID: document.networkId, EndpointID: document.id };
  if (driver !== undefined && document.external !== undefined)
    await requestIgnoringRefusal(
      session,
      driver,
      'NetworkDriver.RevokeExternalConnectivity',
      ids,
      document.external === 'made',
    );
  if (driver !== undefined && document.joined !== undefined)
    await requestIgnoringRefusal(session, driver, 'NetworkDriver.Leave', ids, document.joined === 'made');
  const notFreed = await removeLink(session, endpoint, driver);
  if (driver === undefined) {
    if (notFreed !== undefined) throw notFreed;
    return;
  }
  if (document.created !== undefined) {
    const put = (next: EndpointDocument): Promise<void> => session.putEndpoint(endpoint, next);
    const refused = await deleted(driver, 'NetworkDriver.DeleteEndpoint', ids, document, put);
    if (refused !== undefined && document.created === 'made' && document.deleting === undefined) {
      const refusals = (document.refusals ?? 0) + 1;
      if (refusals < mostRefusals) {
        await put({ ...document, refusals });
        throw refused;
      }
      session.log.warn(
        { ...ids, why: reasonOf(refused) },
        'a remote driver did not delete its endpoint; it is not asked again',
      );
    }
  }
  for (const { driver: ref, request, given } of document.addresses) {
    if (given === undefined) continue;
    const ipam = await session.driver(ref, 'IpamDriver');
    await requestIgnoringRefusal(
      session,
      ipam,
      'IpamDriver.ReleaseAddress',
      { PoolID: request.PoolID, Address: bare(given) },
      true,
    );
  }
  if (notFreed !== undefined) throw notFreed;
  await session.putEndpoint(endpoint, undefined);
}

/**
 * Asks the driver to delete an object, and records the request before sending it.
 * @returns why the driver refused, or undefined if it deleted the object
 * @throws NETWORK_CNM_DRIVER_UNREACHABLE: it is not known whether the driver acted, unless no process
 * received the request
 */
async function deleted<Document extends Pick<EndpointDocument, 'deleting'>>(
  driver: RemoteDriver,
  verb: 'NetworkDriver.DeleteEndpoint' | 'NetworkDriver.DeleteNetwork',
  request: Parameters<RemoteDriver['notify']>[1],
  document: Document,
  put: (document: Document) => Promise<void>,
): Promise<Error | undefined> {
  if (document.deleting === undefined) await put({ ...document, deleting: 'asked' });
  try {
    await driver.call(verb, request as never);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Error && isRefused(thrown)) return thrown;
    if (wasNotReceived(thrown)) await put(document);
    throw thrown;
  }
}

/**
 * Runs the kernel's half: the link goes back to where the driver created it, and our own addresses are
 * released.
 * @returns why a third-party IPAM plugin did not release its address; the link went back nevertheless
 */
async function removeLink(
  { engine, network, actingIn }: Session,
  at: Endpoint,
  driver: RemoteDriver | undefined,
): Promise<Error | undefined> {
  const { netns, config, path } = at.document;
  try {
    await engine.callPlugin({
      verb: 'del',
      type: 'cnm',
      caller: actingIn(driver),
      key: { network, containerId: at.containerId, interface: at.interface },
      netns,
      args: {},
      path,
      config,
    });
    return undefined;
  } catch (thrown) {
    if (isPortcullisError(thrown) && thrown.code === 'NETWORK_IPAM_FAILED') return thrown;
    throw thrown;
  }
}

/**
 * Returns the driver, or undefined if it was uninstalled. Then only the driver's own records of the endpoint
 * remain.
 */
async function driverOrNone(
  session: Session,
  { document, containerId }: Endpoint,
): Promise<RemoteDriver | undefined> {
  try {
    return await session.driver(document.driver, 'NetworkDriver');
  } catch (thrown) {
    if (!hasCode(thrown, 'NETWORK_CNM_DRIVER_UNKNOWN')) throw thrown;
    session.log.warn(
      { containerId, driver: document.driver.name, network: session.network },
      'a remote driver does not exist any more: its endpoint is deleted when the driver is back',
    );
    return undefined;
  }
}

/** Removes a network to which nothing is attached. @throws NETWORK_CNM_DRIVER_UNREACHABLE */
export async function removeNetwork(
  session: Session,
  namespaceId: string,
  document: NetworkDocument,
): Promise<void> {
  const driver = await session.driver(document.driver, 'NetworkDriver');
  if (document.created !== undefined) {
    const put = (next: NetworkDocument): Promise<void> => session.putNetwork(namespaceId, next);
    const refused = await deleted(
      driver,
      'NetworkDriver.DeleteNetwork',
      { NetworkID: document.id },
      document,
      put,
    );
    if (refused !== undefined && document.created === 'made' && document.deleting === undefined) {
      session.log.warn(
        { network: session.network, why: reasonOf(refused) },
        'a remote driver did not delete its network',
      );
      const refusals = (document.refusals ?? 0) + 1;
      if (refusals < mostRefusals) return put({ ...document, refusals });
    }
  }
  for (const pool of document.pools) await releasePool(session, pool);
  await session.putNetwork(namespaceId, undefined);
}

async function releasePool(
  session: Session,
  { driver: ref, request, given, gateway, gatewayHeld }: PoolDocument,
): Promise<void> {
  const ipam = await session.driver(ref, 'IpamDriver');
  // The pool was requested, and no answer was received. A repeated request for the same block returns its id.
  const poolId = given?.poolId ?? (await learnPool(ipam, request));
  if (poolId === undefined) return;
  if (gateway !== undefined && gatewayHeld === true)
    await requestIgnoringRefusal(
      session,
      ipam,
      'IpamDriver.ReleaseAddress',
      { PoolID: poolId, Address: bare(gateway) },
      true,
    );
  await requestIgnoringRefusal(session, ipam, 'IpamDriver.ReleasePool', { PoolID: poolId }, true);
}

async function learnPool(ipam: RemoteDriver, request: PoolDocument['request']): Promise<string | undefined> {
  if (request.Pool === undefined || request.Pool === '') return undefined;
  try {
    const { PoolID } = await ipam.call('IpamDriver.RequestPool', request);
    return typeof PoolID === 'string' ? PoolID : undefined;
  } catch (thrown) {
    if (isRefused(thrown)) return undefined;
    throw thrown;
  }
}

/**
 * Sends a request whose refusal does not stop the removal. A refusal is logged if the driver is known to have
 * had the object.
 */
async function requestIgnoringRefusal(
  session: Session,
  driver: RemoteDriver,
  verb: DriverVerb,
  request: object,
  certain: boolean,
): Promise<void> {
  try {
    await driver.notify(verb, request);
  } catch (thrown) {
    if (!isRefused(thrown)) throw thrown;
    if (certain)
      session.log.warn(
        { network: session.network, verb, why: reasonOf(thrown) },
        'a remote driver refused to remove an object',
      );
  }
}

/**
 * Removes what a crashed process left half-created, what earlier boots left, and networks without
 * attachments. What cannot be removed now is logged, and the next call tries again.
 */
export async function recover(session: Session): Promise<void> {
  for (const endpoint of session.endpoints()) {
    if (endpoint.document.state === 'ready' && isOfThisBoot(endpoint.namespaceId)) continue;
    try {
      await removeEndpoint(session, endpoint);
    } catch (thrown) {
      session.log.warn(
        { containerId: endpoint.containerId, network: session.network, why: reasonOf(thrown) },
        'an endpoint of a remote driver could not be taken back; it is tried again',
      );
    }
  }
  await removeUnused(session);
}

/** Removes networks without attachments. Failures are logged. */
export async function removeUnused(session: Session): Promise<void> {
  for (const { namespaceId, document } of session.networkDocuments()) {
    if (session.endpoints().some((endpoint) => endpoint.namespaceId === namespaceId)) continue;
    try {
      await removeNetwork(session, namespaceId, document);
    } catch (thrown) {
      session.log.warn(
        { network: session.network, why: reasonOf(thrown) },
        'a network of a remote driver could not be taken back; it is tried again',
      );
    }
  }
}

export const isOfThisBoot = (namespaceId: string): boolean => namespaceId.startsWith(`${bootOf()}/`);

const bare = (address: string): string => address.replace(/\/\d+$/u, '');
