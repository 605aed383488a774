import { reasonOf } from '../../../base/errors/index.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import { differs, notAttached, notAvailable } from '../../calls/plugin-errors.ts';
import type { CnmConfig } from '../../plugins/cnm/config.ts';
import type { CniResult } from '../../spec/result.ts';
import { foldersOf } from './documents.ts';
import { endpointOf, hasCode, isRefused } from './session.ts';
import type { Session } from './session.ts';

/**
 * Runs CHECK: the kernel's half, then the driver must know the endpoint.
 * @throws NETWORK_NOT_ATTACHED · NETWORK_DIFFERS · NETWORK_CNM_*
 */
export async function checkAttachment(session: Session, call: PluginCall): Promise<undefined> {
  const existing = endpointOf(session, call);
  if (existing?.document.state !== 'ready') throw notAttached(call.key, 'cnm');
  const { driver: ref, id, networkId } = existing.document;
  const driver = await session.driver(ref, 'NetworkDriver');
  await session.engine.callPlugin({ ...call, caller: session.actingIn(driver) });
  try {
    await driver.notify('NetworkDriver.EndpointOperInfo', { NetworkID: networkId, EndpointID: id });
  } catch (thrown) {
    if (!isRefused(thrown)) throw thrown;
    throw differs(call.key, 'cnm', [
      `the remote driver ${ref.name} does not know the endpoint: ${reasonOf(thrown)}`,
    ]);
  }
  return undefined;
}

/**
 * Runs STATUS: the drivers must answer, and the kernel's half must be able to attach.
 * @throws NETWORK_NOT_AVAILABLE · NETWORK_CONFIG_INVALID
 */
export async function checkStatus(
  session: Session,
  call: PluginCall,
  config: CnmConfig,
): Promise<CniResult | undefined> {
  try {
    const ref = { name: config.driver, folders: foldersOf(config) };
    const driver = await session.driver(ref, 'NetworkDriver');
    await driver.notify('NetworkDriver.GetCapabilities', {});
    if (config.ipam !== undefined) await session.driver({ ...ref, name: config.ipam.driver }, 'IpamDriver');
    return await session.engine.callPlugin({ ...call, caller: session.actingIn(driver) });
  } catch (thrown) {
    if (hasCode(thrown, 'NETWORK_CONFIG_INVALID', 'NETWORK_NOT_AVAILABLE')) throw thrown;
    throw notAvailable('cnm', reasonOf(thrown));
  }
}
