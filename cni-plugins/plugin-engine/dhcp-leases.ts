import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import type { NetworkDatabase } from '../database/database.ts';
import type { PluginAttachment, PluginAttachmentStore } from '../database/plugin-attachments.ts';
import { release as releaseMessage } from '../dhcp/client.ts';
import type { HeldLease } from '../dhcp/client.ts';
import { providedOptions } from '../dhcp/config.ts';
import type { DhcpConfig } from '../dhcp/config.ts';
import { createLeaseKeeper } from '../dhcp/lease-keeper.ts';
import { clientIdOf } from '../dhcp/requests.ts';
import type { Host, Hosts } from '../namespaces/caller.ts';
import type { ResourceKernel } from '../plugins/contract/contract.ts';
import type { Steps } from './address-program-steps.ts';
import { givenBy, identityOf } from './dhcp-document.ts';
import type { DhcpDocument } from './dhcp-document.ts';
import { findClientLink, refuseHostAddress, releaseFailure, sendRelease } from './dhcp-links.ts';
import { createDhcpRecords, keyOf, nameOf } from './dhcp-records.ts';
import type { Acquired, LaterSource } from './later-source.ts';

/** Leases of the address plugin `dhcp`: each belongs to a plugin attachment, in the same database. */
export interface DhcpLeases {
  /** Asks a server for the address of an attachment. @throws NETWORK_DHCP_NEEDS_DAEMON */
  source(call: PluginCall, host: Host, config: DhcpConfig): LaterSource;
  /** Ends an ADD of the attachment that waits for a server: its DEL has arrived. */
  cancel(call: PluginCall): void;
  /** Gives a lease back, before the interface is removed. Does nothing for attachments without one. */
  release(part: PluginAttachment, kernel: ResourceKernel): void;
  /** Returns why the attachment has no lease any more; undefined if it has one, or never had one. */
  lost(part: PluginAttachment): string | undefined;
  /** Returns why no lease can be got; undefined if one can. */
  unavailable(): string | undefined;
  /**
   * Continues with the leases of the database. @param removeLeftover removes an attachment whose ADD was
   * killed
   */
  resume(removeLeftover: (part: PluginAttachment) => void): void;
  close(): void;
}

export interface DhcpLeasesDeps {
  readonly database: NetworkDatabase;
  readonly parts: PluginAttachmentStore;
  readonly hosts: Hosts;
  /** Whether this process lives as long as the leases: the daemon. */
  readonly keeps: boolean;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Nothing is sent before the first call. */
export function createDhcpLeases({ database, parts, hosts, keeps, log }: DhcpLeasesDeps): DhcpLeases {
  const records = createDhcpRecords({ database, parts, hosts, log });
  const { store, atClient } = records;
  /** Keys of clients whose ADD waits, by the name of the attachment. */
  const awaited = new Map<string, string>();

  const keeper = createLeaseKeeper({
    open: records.open,
    apply(key, lease, why) {
      if (!records.apply(key, lease, why)) keeper.forget(key);
    },
    log,
  });

  const begin = (call: PluginCall, host: Host, config: DhcpConfig, part: PluginAttachment): DhcpDocument => {
    const options = { ownAllowed: call.netnsOverride === true };
    const link = host.withPod(call.netns, options, (kernel) => findClientLink(call.key.interface, kernel));
    const { key } = call;
    const document: DhcpDocument = {
      client: {
        ...link,
        clientId: clientIdOf(key.containerId, key.network, key.interface).toString('hex'),
        requested: config.requested,
        provided: [...providedOptions(config, call.args)].map(([code, value]) => [
          code,
          value.toString('hex'),
        ]),
      },
      ...(config.priority !== undefined && { priority: config.priority }),
    };
    // The caller may see other paths than the daemon, which must find the namespace again.
    atClient(part, document, () => undefined);
    database.exclusively(() => database.transaction(() => store.put(part, document)));
    return document;
  };

  const acquire = function* (
    call: PluginCall,
    host: Host,
    config: DhcpConfig,
    part: PluginAttachment,
  ): Steps<Acquired> {
    const document = begin(call, host, config, part);
    const name = nameOf(part);
    const got: HeldLease[] = [];
    awaited.set(name, keyOf(part));
    try {
      yield {
        wait: async () =>
          void got.push(await keeper.acquire(keyOf(part), { identity: identityOf(document), name })),
      };
    } finally {
      awaited.delete(name);
    }
    const [lease] = got;
    if (lease === undefined) throw new Error(`the DHCP client of ${name} ended without a lease`);
    refuseHostAddress(part.key.network, lease, host.route);
    log.info({ attachment: name, address: lease.address, server: lease.server }, 'a pod has a DHCP lease');
    return {
      given: givenBy(lease, config.priority),
      record: (described) => store.put(described, { ...document, lease }),
    };
  };

  return {
    source: (call, host, config) => ({
      type: 'dhcp',
      *acquire(part) {
        if (!keeps) throw needsDaemon(nameOf(part));
        return yield* acquire(call, host, config, part);
      },
      // The removal of the links releases the lease.
      *letGo() {},
    }),
    cancel({ key }) {
      const waiting = awaited.get(nameOf({ key }));
      if (waiting !== undefined) keeper.cancel(waiting);
    },
    release(part, kernel) {
      const document = store.get(part);
      if (document === undefined) return;
      const lease = keeper.forget(keyOf(part)) ?? document.lease;
      if (lease === undefined) return;
      const moment = { now: Date.now(), random: Math.random() };
      try {
        sendRelease(document, part, kernel, releaseMessage(identityOf(document), lease, moment));
      } catch (thrown) {
        const fields = { attachment: nameOf(part), address: lease.address, why: releaseFailure(thrown) };
        log.warn(fields, 'a DHCP lease could not be released; it ends by itself');
      }
    },
    lost: (part) => store.get(part)?.lost,
    unavailable: () => (keeps ? undefined : 'the daemon, which renews the leases, does not answer'),
    resume(removeLeftover) {
      for (const { attachment, type, document } of store.all()) {
        const numbered = parts.numbered(attachment, type);
        if (numbered === undefined) continue;
        const { part, namespaceId } = numbered;
        if (document === undefined)
          log.warn(
            { attachment: nameOf(part) },
            'the record of a DHCP lease is damaged, so it cannot be renewed: its interface is removed',
          );
        else if (document.lease !== undefined || document.lost !== undefined) {
          const subject = { identity: identityOf(document), name: nameOf(part) };
          keeper.resume(keyOf(part), subject, document.lease);
          continue;
        }
        if (namespaceId === hosts.own.namespaceId) {
          try {
            removeLeftover(part);
          } catch (thrown) {
            log.warn({ attachment: nameOf(part), why: reasonOf(thrown) }, 'a leftover could not be removed');
          }
        }
      }
    },
    close: () => keeper.close(),
  };
}

function needsDaemon(name: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_DHCP_NEEDS_DAEMON',
    kind: 'unavailable',
    attempted: 'get an address by DHCP for',
    on: name,
    why: 'the daemon, which renews the leases, does not answer',
    fix: 'start the daemon; the runtime tries again',
  });
}
