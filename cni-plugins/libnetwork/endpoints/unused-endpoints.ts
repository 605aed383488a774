import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { currentBootId, sameProcess } from '../../../base/process/index.ts';
import type { ActsApart } from '../acts/act-thread.ts';
import type { EndpointLinks } from './endpoint-links.ts';
import type { EndpointRecords } from './endpoint-records.ts';
import type { Endpoints, Engine } from './endpoints.types.ts';
import type { CnmEndpoint } from '../acts/records.ts';
import type { LinkPlace } from '../acts/staging.ts';
import type { KeyedQueue } from '../../../base/queues/index.ts';

export interface UnusedEndpointsDeps {
  readonly acts: Pick<ActsApart, 'endpoint' | 'endpoints' | 'placeOf' | 'namespaceId'>;
  readonly records: EndpointRecords;
  readonly links: Pick<EndpointLinks, 'undo'>;
  readonly turns: KeyedQueue;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Finds and removes the endpoints that no container has. */
export function createUnusedEndpoints({
  acts,
  records,
  links,
  turns,
  log,
}: UnusedEndpointsDeps): Pick<Endpoints, 'sweep' | 'reconcile'> {
  const placeOf = ({ spec }: CnmEndpoint, { caller }: Engine): Promise<LinkPlace> => {
    const hostLinks = (spec.result?.interfaces ?? [])
      .filter(({ sandbox }) => (sandbox ?? '') === '')
      .map(({ name }) => name);
    return acts.placeOf(caller, spec.link, spec.sandbox, hostLinks);
  };

  /**
   * Returns whether no container has the endpoint: its engine is gone, or its container ended while no driver
   * could be notified.
   */
  const isStale = async (endpoint: CnmEndpoint, by: Engine): Promise<boolean> => {
    const { owner } = endpoint.spec;
    const place = await placeOf(endpoint, by);
    return place === 'nowhere' || (place === 'host' && (owner === undefined || !sameProcess(owner)));
  };

  const reconcileOne = async (
    id: string,
    namespaceId: string,
    by: Engine,
    which?: 'of the dead',
  ): Promise<void> => {
    const endpoint = await acts.endpoint(id);
    if (endpoint === undefined) return;
    const { owner } = endpoint.spec;
    // An engine that is running may move links between two checks.
    if (which !== undefined && owner !== undefined && sameProcess(owner)) return;
    const former = !endpoint.namespaceId.startsWith(`${currentBootId()}/`);
    if (!former && endpoint.namespaceId !== namespaceId) return;
    // A container may have it: the engine says when it has none.
    if (!former && endpoint.spec.damaged === true) return;
    if (endpoint.state === 'ready' && !former && !(await isStale(endpoint, by))) return;
    if (endpoint.state !== 'ready' && records.isOfAnother(endpoint)) return;
    await links.undo(endpoint, by);
    log.info(
      { endpoint: id, network: endpoint.network, state: endpoint.state },
      'an endpoint that no container uses was removed',
    );
  };

  return {
    async sweep(which, by) {
      for (const { id } of (await acts.endpoints()).filter(which))
        await turns.run(id, async () => {
          const endpoint = await acts.endpoint(id);
          if (
            endpoint !== undefined &&
            (endpoint.state !== 'ready' || (await placeOf(endpoint, by)) !== 'container')
          )
            await links.undo(endpoint, by);
        });
    },
    async reconcile(by, which) {
      const namespaceId = await acts.namespaceId(by.caller);
      for (const { id } of await acts.endpoints()) {
        try {
          await turns.run(id, () => reconcileOne(id, namespaceId, by, which));
        } catch (thrown) {
          if (isPortcullisError(thrown) && thrown.code === 'NETWORK_BUSY') continue;
          log.warn(
            { endpoint: id, why: reasonOf(thrown) },
            'an endpoint that no container uses could not be removed; it is tried again',
          );
        }
      }
    },
  };
}
