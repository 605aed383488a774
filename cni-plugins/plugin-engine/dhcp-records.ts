import { reasonOf } from '../../base/errors/index.ts';
import { ipTextBytes } from '../../base/addresses/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { NetworkDatabase } from '../database/database.ts';
import { createDhcpLeaseStore } from '../database/dhcp-leases.ts';
import type { DhcpLeaseStore, LeaseHolder } from '../database/dhcp-leases.ts';
import type {
  NumberedAttachment,
  PluginAttachment,
  PluginAttachmentStore,
} from '../database/plugin-attachments.ts';
import type { HeldLease } from '../dhcp/client.ts';
import { openExchange } from '../dhcp/exchange.ts';
import type { Exchange, ExchangeListener } from '../dhcp/exchange.ts';
import type { Hosts } from '../namespaces/caller.ts';
import type { Resource, ResourceKernel } from '../plugins/contract/contract.ts';
import { givenBy, resourcesWith, resultWith } from './dhcp-document.ts';
import type { DhcpDocument } from './dhcp-document.ts';
import { createSharedAddresses } from './shared-addresses.ts';
import {
  isNamespaceOf,
  namespaceReplaced,
  refuseHostAddress,
  replaceAddresses,
  switchLink,
} from './dhcp-links.ts';

/** The records of DHCP clients, and their interfaces, which follow the records. */
export interface DhcpRecords {
  readonly store: DhcpLeaseStore<DhcpDocument>;
  /** Runs `body` in the namespace of the client. @throws NETWORK_NETNS_* */
  atClient<T>(part: PluginAttachment, document: DhcpDocument, body: (kernel: ResourceKernel) => T): T;
  /** Opens a socket on the interface of a client. Returns undefined if the client is not recorded. */
  open(key: string, listener: ExchangeListener): Exchange | undefined;
  /**
   * Records what became of a lease, and brings the interface to it.
   * @param lease absent: it is lost
   * @returns whether the client is recorded
   */
  apply(key: string, lease: HeldLease | undefined, why: string): boolean;
}

export interface DhcpRecordsDeps {
  readonly database: NetworkDatabase;
  readonly parts: PluginAttachmentStore;
  readonly hosts: Hosts;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Key of the client of an attachment. */
export const keyOf = ({ attachment, type }: LeaseHolder): string => `${attachment}/${type}`;

const holderOf = (key: string): LeaseHolder => {
  const at = key.indexOf('/');
  return { attachment: Number(key.slice(0, at)), type: key.slice(at + 1) };
};

export const nameOf = ({ key }: Pick<PluginAttachment, 'key'>): string =>
  `${key.network}/${key.containerId}/${key.interface}`;

/** Reads the database only when it is asked. */
export function createDhcpRecords({ database, parts, hosts, log }: DhcpRecordsDeps): DhcpRecords {
  const store = createDhcpLeaseStore<DhcpDocument>(database);
  const sharedAddresses = createSharedAddresses(database);

  /** Runs `body` in the namespace of the client. @throws NETWORK_NETNS_* */
  const atClient = <T>(
    part: PluginAttachment,
    document: DhcpDocument,
    body: (kernel: ResourceKernel) => T,
  ): T =>
    hosts.own.withPod(part.netns, { ownAllowed: true }, (kernel) => {
      if (!isNamespaceOf(document, kernel)) throw namespaceReplaced(part.netns);
      return body(kernel);
    });

  const recorded = (key: string): (NumberedAttachment & { readonly document: DhcpDocument }) | undefined => {
    const holder = holderOf(key);
    const document = store.get(holder);
    const numbered = parts.numbered(holder.attachment, holder.type);
    return document === undefined || numbered === undefined ? undefined : { ...numbered, document };
  };

  const open = (key: string, listener: ExchangeListener): Exchange | undefined => {
    const found = recorded(key);
    if (found === undefined) return undefined;
    const { part, document } = found;
    return atClient(part, document, (kernel) => kernel.inPod(() => openExchange(document.client, listener)));
  };

  /** By key: what interfaces may still have after a change that failed. */
  const unsettled = new Map<string, readonly Resource[]>();

  const adopt = (
    { part, document: former }: { part: PluginAttachment; document: DhcpDocument },
    document: DhcpDocument,
  ): void => {
    const key = keyOf(part);
    const present = [...(unsettled.get(key) ?? []), ...part.resources];
    unsettled.set(key, present);
    const { lease, priority } = document;
    const given = lease === undefined ? { addresses: [], routes: [], dns: {} } : givenBy(lease, priority);
    const resources = resourcesWith(part.resources, given);
    // Without a lease, the result stays what ADD returned: CHECK reports the loss.
    const result = lease === undefined ? part.result : resultWith(part.result, given);
    const record = (): PluginAttachment =>
      database.transaction(() => {
        store.update(part, document);
        const [from, to] = [former.lease, lease].map((each) => each && ipTextBytes(each.address));
        if (from !== undefined && to !== undefined) store.moveNames(part, from, to);
        return parts.describe(part, resources, result);
      });
    const bring = (changed: Pick<PluginAttachment, 'key' | 'resources'>): void =>
      atClient(part, document, (kernel) => {
        if (part.resources.length === 0) return switchLink(document, lease !== undefined, kernel);
        replaceAddresses(present, changed, document, kernel);
        sharedAddresses.restore(part, present, kernel);
      });
    if (lease !== undefined) bring(record());
    else {
      // The pod must not use a lost address, even if the loss cannot be recorded.
      try {
        bring({ ...part, resources });
      } finally {
        record();
      }
    }
    unsettled.delete(key);
  };

  /** Returns why the pod cannot have the address of a lease. */
  const refusalOf = (part: PluginAttachment, lease: HeldLease): string | undefined => {
    try {
      refuseHostAddress(part.key.network, lease, hosts.own.route);
      sharedAddresses.refuse(part, resourcesWith(part.resources, givenBy(lease, undefined)));
      return undefined;
    } catch (thrown) {
      return `the server gave ${lease.address}: ${reasonOf(thrown)}`;
    }
  };

  const apply = (key: string, given: HeldLease | undefined, reason: string): boolean =>
    database.exclusively(() => {
      const found = recorded(key);
      if (found === undefined) {
        unsettled.delete(key);
        return false;
      }
      const { lease: former, lost: _lost, ...rest } = found.document;
      const refusal = given === undefined ? undefined : refusalOf(found.part, given);
      const [lease, why] = refusal === undefined ? [given, reason] : [undefined, refusal];
      const document: DhcpDocument = {
        ...rest,
        ...(lease === undefined ? { lost: `${former?.address ?? ''}: ${why}` } : { lease }),
      };
      const isSame = former !== undefined && lease !== undefined && sameTerms(former, lease);
      if (isSame && !unsettled.has(key)) {
        database.transaction(() => store.update(found.part, document));
        return true;
      }
      const fields = {
        attachment: nameOf(found.part),
        former: former?.address,
        address: lease?.address,
        why,
      };
      if (lease === undefined) log.warn(fields, 'a DHCP lease is lost: its address is removed from the pod');
      else log.warn(fields, 'a DHCP server gave a pod other settings: they are applied');
      adopt(found, document);
      return true;
    });

  return { store, atClient, open, apply };
}

const sameTerms = (a: HeldLease, b: HeldLease): boolean =>
  JSON.stringify([givenBy(a, 0)], plainBigint) === JSON.stringify([givenBy(b, 0)], plainBigint);

const plainBigint = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;
