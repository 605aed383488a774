import { reasonOf } from '../../../base/errors/index.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import { alreadyAttached } from '../../calls/plugin-errors.ts';
import type { CnmConfig } from '../../plugins/cnm/config.ts';
import type { CniResult } from '../../spec/result.ts';
import { foldersOf, networkIdOf } from './documents.ts';
import { createEndpoint, newEndpoint } from './request-endpoint.ts';
import { ensureNetwork } from './request-network.ts';
import { endpointOf } from './session.ts';
import type { Endpoint, Session } from './session.ts';
import { recover, removeEndpoint, removeUnused } from './undoing.ts';

/**
 * Runs ADD: takes back what earlier calls left, leases addresses, and creates the endpoint at the driver.
 * @throws NETWORK_ALREADY_ATTACHED · NETWORK_CNM_* · the errors of the kernel's half; then nothing is left,
 * or what is left is recorded
 */
export async function addAttachment(
  session: Session,
  call: PluginCall,
  config: CnmConfig,
): Promise<CniResult | undefined> {
  const at = {
    namespaceId: session.namespaceId,
    containerId: call.key.containerId,
    interface: call.key.interface,
  };
  const existing = endpointOf(session, call);
  if (existing?.document.state === 'ready') throw alreadyAttached(call.key, 'cnm');
  if (existing !== undefined) await removeEndpoint(session, existing);
  await recover(session);
  const ref = { name: config.driver, folders: foldersOf(config) };
  const driver = await session.driver(ref, 'NetworkDriver');
  const networkId = networkIdOf(session.namespaceId, session.network, config.driver);
  await session.putEndpoint(at, newEndpoint({ driver: ref, id: networkId }, call));
  try {
    const leased = await leaseFor(session, { ...call, caller: session.actingIn(driver) }, at);
    if (leased === undefined) throw new Error('a call that ends with a result was taken for one without');
    const document = await ensureNetwork(session, config, leased);
    return await createEndpoint(session, config, { document, call, leased, at });
  } catch (thrown) {
    await undo(session, call);
    throw thrown;
  }
}

/**
 * Runs the kernel's first half of an ADD: addresses. A call that fails has taken back its own changes, and
 * the driver received no call. So the endpoint's record is deleted. Otherwise it would stay because of
 * a DEL of an IPAM plugin that is missing or fails in the same way.
 */
async function leaseFor(
  session: Session,
  call: PluginCall,
  at: Omit<Endpoint, 'document'>,
): Promise<CniResult | undefined> {
  try {
    return await session.engine.callPlugin(call);
  } catch (thrown) {
    await session.putEndpoint(at, undefined);
    throw thrown;
  }
}

/** Undoes a failed attachment. What fails here stays recorded, and the next call repeats it. */
async function undo(session: Session, call: PluginCall): Promise<void> {
  const made = endpointOf(session, call);
  try {
    if (made !== undefined) await removeEndpoint(session, made);
    await removeUnused(session);
  } catch (thrown) {
    session.log.warn(
      { ...call.key, why: reasonOf(thrown) },
      'a failed attachment of a remote driver could not be taken back at once; it is tried again',
    );
  }
}
