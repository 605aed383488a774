import { PortcullisError } from '../../base/errors/index.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import { alreadyAttached, notAttached } from '../calls/plugin-errors.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import type { Host } from '../namespaces/caller.ts';
import type { CniResult } from '../spec/result.ts';
import type { Steps } from './address-program-steps.ts';
import type { LaterSource } from './later-source.ts';
import type { PartCreation } from './plugin-attachment-creation.ts';
import type { Adding, PartPlans, PlannedLinks } from './plugin-attachment-plans.ts';
import type { Reading } from '../networks/plugin-configuration.ts';
import type { PluginRemoval } from './plugin-removal.ts';

/**
 * ADD with an address plugin that needs the interface (DHCP): first the links without addresses, then the
 * address plugin, then the addresses. While the address plugin waits for its server, other calls run.
 */
export interface LaterAddresses {
  add(adding: Adding, host: Host, source: LaterSource): Steps<CniResult>;
  /** ADD of the address plugin alone, called by a third-party plugin that has created the interface. */
  addAlone(reading: Reading, call: PluginCall, host: Host, source: LaterSource): Steps<CniResult>;
}

export interface LaterAddressesDeps {
  readonly parts: PluginAttachmentStore;
  readonly plans: PartPlans;
  readonly creation: PartCreation;
  readonly removal: PluginRemoval;
}

/** The links are created and removed in acts of `removal`. */
export function createLaterAddresses({
  parts,
  plans,
  creation,
  removal: { act, removeAnyhow, undo },
}: LaterAddressesDeps): LaterAddresses {
  const optionsOf = ({ call }: Adding): { readonly ownAllowed: boolean } => ({
    ownAllowed: call.netnsOverride === true,
  });

  const createLinks = (adding: Adding, host: Host, { type }: LaterSource): PlannedLinks => {
    const { plugin, reading, call } = adding;
    const unfit =
      plugin.laterAddresses === undefined
        ? 'the interface of this plugin needs its addresses when it is created'
        : plugin.laterAddresses(reading.config);
    if (unfit !== undefined) throw addressPluginUnfit(reading.type, type, unfit);
    return act(host, () => {
      if (parts.part(host.namespaceId, call.key, reading.type) !== undefined)
        throw alreadyAttached(call.key, reading.type);
      return host.withPod(call.netns, optionsOf(adding), (kernel) => {
        const links = plans.planLinks(adding, host, kernel);
        creation.createLinks(links.part, kernel, host);
        return links;
      });
    });
  };

  const addressed = function* (
    adding: Adding,
    host: Host,
    source: LaterSource,
    links: PlannedLinks,
  ): Steps<CniResult> {
    const { call } = adding;
    const { part } = links;
    const acquired = yield* source.acquire(part);
    const created = act(host, () => {
      if (acquired === undefined || !creation.exists(part, host)) throw notAttached(part.key, part.type);
      return host.withPod(call.netns, optionsOf(adding), (kernel) =>
        creation.create(plans.planAddresses(links, adding, host, acquired), kernel, call, host),
      );
    });
    return yield* creation.completed(created, call, host);
  };

  /** Removes what is left of a failed ADD. */
  const removeFailed = (part: PluginAttachment, host: Host): void =>
    undo(part, () =>
      act(host, () => (creation.exists(part, host) ? removeAnyhow(part, host, part.netns, true) : undefined)),
    );

  const guarded = function* (
    part: PluginAttachment,
    host: Host,
    source: LaterSource,
    body: Steps<CniResult>,
  ): Steps<CniResult> {
    try {
      return yield* creation.waiting(part, body);
    } catch (thrown) {
      yield* source.letGo(part);
      removeFailed(part, host);
      throw thrown;
    }
  };

  const acquiredAlone = function* (
    part: PluginAttachment,
    host: Host,
    source: LaterSource,
  ): Steps<CniResult> {
    const acquired = yield* source.acquire(part);
    return act(host, () => {
      if (acquired === undefined || !creation.exists(part, host)) throw notAttached(part.key, part.type);
      return plans.completeAlone(part, acquired);
    });
  };

  return {
    *add(adding, host, source) {
      const links = createLinks(adding, host, source);
      return yield* guarded(links.part, host, source, addressed(adding, host, source, links));
    },
    *addAlone(reading, call, host, source) {
      const part = act(host, () => {
        if (parts.part(host.namespaceId, call.key, reading.type) !== undefined)
          throw alreadyAttached(call.key, reading.type);
        return plans.beginAlone(reading, call, host);
      });
      return yield* guarded(part, host, source, acquiredAlone(part, host, source));
    },
  };
}

function addressPluginUnfit(plugin: string, type: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CONFIG_INVALID',
    kind: 'invalid',
    attempted: `use the address plugin ${type} with the plugin`,
    on: plugin,
    why,
    fix: 'use one of bridge, host-device, ipvlan (mode l2), macvlan and vlan, or another address plugin',
  });
}
