import { reasonOf } from '../../../base/errors/index.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import { notAvailable } from '../../calls/plugin-errors.ts';
import type { CnmConfig } from '../../plugins/cnm/config.ts';
import { foldersOf } from './documents.ts';
import { endpointOf, hasCode } from './session.ts';
import type { Endpoint, Session } from './session.ts';
import { removeEndpoint, removeUnused } from './undoing.ts';

/** Runs DEL. Succeeds if the attachment is gone. @throws the errors of {@link removeEndpoint} */
export async function deleteAttachment(session: Session, call: PluginCall): Promise<undefined> {
  const existing = endpointOf(session, call);
  if (existing === undefined) {
    await session.engine.callPlugin(call);
    // Left by a DEL that ended after it removed its endpoint and before it removed the network.
    await removeUnused(session);
    return undefined;
  }
  const netns = call.netns === '' ? existing.document.netns : call.netns;
  await removeEndpoint(session, { ...existing, document: { ...existing.document, netns } });
  await removeUnused(session);
  return undefined;
}

/**
 * Runs GC: removes the attachments of other host namespaces, and those that the call does not list as valid,
 * except those that only the daemon knows.
 * @throws NETWORK_NOT_AVAILABLE with everything that could not be removed
 */
export async function collectAttachments(
  session: Session,
  call: PluginCall,
  config: CnmConfig,
): Promise<undefined> {
  const valid = new Set((call.valid ?? []).map((each) => `${each.containerId}\0${each.interface}`));
  const failures: string[] = [];
  const isKnown = (each: Endpoint): boolean =>
    each.isOfDaemon === true || valid.has(`${each.containerId}\0${each.interface}`);
  const leftovers = session
    .endpoints()
    .filter((each) => each.namespaceId !== session.namespaceId || !isKnown(each));
  for (const endpoint of leftovers) {
    try {
      await removeEndpoint(session, endpoint);
    } catch (thrown) {
      failures.push(reasonOf(thrown));
    }
  }
  await removeUnused(session);
  await session.engine.callPlugin(await acting(session, call, config));
  if (failures.length > 0) throw notAvailable('cnm', failures.join('; '));
  return undefined;
}

/** Leases belong to the namespace in which the driver's links are; without the driver, to the caller's. */
async function acting(session: Session, call: PluginCall, config: CnmConfig): Promise<PluginCall> {
  try {
    return {
      ...call,
      caller: session.actingIn(
        await session.driver({ name: config.driver, folders: foldersOf(config) }, 'NetworkDriver'),
      ),
    };
  } catch (thrown) {
    if (!hasCode(thrown, 'NETWORK_CNM_DRIVER_UNKNOWN', 'NETWORK_CNM_DRIVER_UNREACHABLE')) throw thrown;
    return call;
  }
}
