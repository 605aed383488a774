import { NETLINK_ROUTE } from '../../../base/kernel/index.ts';
import { findLink, listSettings, deleteLink, openNetlink } from '../../../base/netlink/index.ts';
import type { NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import { difference, isPeer, keyOf } from './entries.ts';
import type { Entry, Own } from './entries.ts';
import { ensureGuard, removeGuard } from './guard.ts';
import type { HostKeys } from './keys.ts';
import { listEntries, requestsFor } from './link-entries.ts';
import { ensureVxlan, ensureWireguard, findUnderlay, linkNames, removeLink } from './links.ts';
import type { Underlay } from './links.ts';
import type { Masquerade } from '../../spanned-network/masquerade.ts';
import { ensureMasquerade, removeMasquerade } from '../../spanned-network/masquerade.ts';
import { ensureVxlanGuard, removeVxlanGuard } from './vxlan-guard.ts';
import { openWireguardLink } from './wireguard-link.ts';

/**
 * The overlay's state in the kernel. Synchronous, for a Worker. Acts in the network namespace in which it was
 * opened.
 */
export interface DataPlane {
  /** @throws OVERLAY_UNDERLAY_MISSING */
  underlay(wanted: string): Underlay;
  /**
   * With encryption: from now on nothing is sent to or accepted from another host unencrypted. Then creates
   * the link for encrypted packets.
   * @throws OVERLAY_WIREGUARD_MISSING: then nothing goes to another host at all
   */
  secure(own: Own): readonly string[];
  /**
   * Returns the last handshake with each holder of a key, and the bytes since the link was made. Empty
   * without encryption.
   */
  met(): ReadonlyMap<string, Met>;
  /**
   * Brings the kernel from any state to exactly these links, addresses, rules and entries, according to the
   * kernel's own lists.
   * @returns the differences that it found. @throws NETWORK_KERNEL_…
   */
  reconcile(own: Own, wanted: ReadonlyMap<string, Entry>): readonly string[];
  /** Removes and adds what differs from `held`. The cost depends on the number of changes. */
  change(held: ReadonlyMap<string, Entry>, wanted: ReadonlyMap<string, Entry>): void;
  /** Returns how many pods have a link to the bridge of that name. */
  podsOn(bridge: string): number;
  /** Removes the overlay's state and the bridge. */
  remove(bridge: string): void;
  close(): void;
}

/** Data about the holder of a key. */
export interface Met {
  /** Time of the last handshake by this machine's clock; 0: never. */
  readonly handshakeMs: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** @param keys keys of this host: packets that leave are encrypted. Absent: nothing is encrypted */
export function openDataPlane(vni: number, keys?: HostKeys): DataPlane {
  const route = openNetlink(NETLINK_ROUTE);
  const wireguard = keys === undefined ? undefined : openWireguardLink(keys);
  const linkName = linkNames[wireguard === undefined ? 'vxlan' : 'wireguard'];
  /** Index of our link; 0 until it is made. */
  let index = 0;

  const apply = (held: ReadonlyMap<string, Entry>, wanted: ReadonlyMap<string, Entry>): readonly string[] => {
    const { remove, put } = difference(held, wanted);
    const requests = (entries: readonly Entry[], act: 'put' | 'remove'): Request[] =>
      entries.flatMap((entry) => requestsFor(index, entry, act));
    // Entries of a removed link are gone already.
    const unremoved = [...send(route, requests(remove, 'remove'))].filter(
      ({ code }) => !['ENOENT', 'ESRCH', 'ENODEV'].includes(code.slice('NETWORK_KERNEL_'.length)),
    );
    wireguard?.put(put.filter(isPeer));
    wireguard?.remove(remove.filter(isPeer));
    const unput = [...send(route, requests(put, 'put'))];
    // The refused entry of one host does not keep the entries of the others out of the kernel.
    const refusal = unremoved[0] ?? unput[0];
    if (refusal !== undefined) throw refusal;
    return [
      ...remove.map((entry) => `${keyOf(entry)} existed`),
      ...put.map((entry) => `${keyOf(entry)} was missing or different`),
    ];
  };

  const read = ({ networks }: Own, wanted: ReadonlyMap<string, Entry>): Map<string, Entry> => {
    const found = listEntries(route, index, networks);
    const peers = wireguard?.entries(wanted, Date.now()) ?? [];
    return new Map([...found, ...peers].map((entry) => [keyOf(entry), entry]));
  };

  const secure = (own: Own): string[] => {
    if (wireguard === undefined) return [];
    const found: string[] = [];
    if (ensureGuard(own, linkName)) found.push('the table portcullis-overlay-guard was missing or different');
    if (removeLink(route, 'vxlan')) found.push(`the link ${linkNames.vxlan} existed, which does not encrypt`);
    const link = ensureWireguard(route, own);
    ({ index } = link);
    const isOther = wireguard.ensure(own.record.wireguard?.port ?? 0);
    if (link.changed || isOther) found.push(`the link ${linkName} was missing or different`);
    if (removeVxlanGuard()) found.push('the table portcullis-overlay-vxlan existed');
    return found;
  };

  const bringVxlan = ({ record: { vxlan, ...record }, ...own }: Own): string[] => {
    if (vxlan === undefined) return [];
    const found: string[] = [];
    if (removeLink(route, 'wireguard'))
      found.push(`the link ${linkNames.wireguard} existed, although the overlay is not encrypted`);
    if (ensureVxlanGuard(own.networks, vxlan.port))
      found.push('the table portcullis-overlay-vxlan was missing or different');
    const link = ensureVxlan(route, { ...own, record: { ...record, vxlan } }, vni);
    ({ index } = link);
    if (link.changed) found.push(`the link ${linkName} was missing or different`);
    if (removeGuard()) found.push('the table portcullis-overlay-guard existed');
    return found;
  };

  return {
    underlay: (wanted) => findUnderlay(route, wanted),
    secure,
    met: () =>
      new Map(
        (wireguard?.listed() ?? []).map(({ publicKey, lastHandshakeMs, receivedBytes, sentBytes }) => [
          publicKey,
          { handshakeMs: lastHandshakeMs, receivedBytes, sentBytes },
        ]),
      ),
    reconcile(own, wanted) {
      const found = [...(wireguard === undefined ? bringVxlan(own) : secure(own))];
      if (ensureMasquerade({ ...masqueradeOf(own), link: linkName }))
        found.push('the table portcullis-overlay was missing or different');
      return [...found, ...apply(read(own, wanted), wanted)];
    },
    podsOn(bridge) {
      const link = findLink(route, { name: bridge });
      return link === undefined
        ? 0
        : listSettings(route).filter(({ master }) => master === link.index).length;
    },
    remove(bridge) {
      if (findLink(route, { name: bridge }) !== undefined) route.run([deleteLink({ name: bridge })]);
      removeLink(route, 'vxlan');
      removeLink(route, 'wireguard');
      removeMasquerade(masqueradeTable);
      removeGuard();
      removeVxlanGuard();
    },
    change: (held, wanted) => void apply(held, wanted),
    close() {
      wireguard?.close();
      route.close();
    },
  };
}

const masqueradeTable = 'portcullis-overlay';

const masqueradeOf = ({ networks, subnets }: Own): Masquerade => ({
  table: masqueradeTable,
  ranges: networks.map(({ prefix }) => prefix),
  subnets,
});

/** Number of requests whose answers fit the socket's buffer. */
const atOnce = 500;

function* send(route: NetlinkSocket, requests: readonly Request[]): Generator<{ code: string } & Error> {
  for (let at = 0; at < requests.length; at += atOnce) {
    const batch = requests.slice(at, at + atOnce);
    for (const { error } of route.send(batch)) yield error;
  }
}
