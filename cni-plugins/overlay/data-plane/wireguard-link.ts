import { NETLINK_GENERIC } from '../../../base/kernel/index.ts';
import {
  familyNumber,
  noPresharedKey,
  openNetlink,
  readWireguard,
  wireguardFamilyName,
  wireguardRequests,
  tolerating,
} from '../../../base/netlink/index.ts';
import type {
  ListedWireguardPeer,
  WireguardDevice,
  WireguardPeerChange,
  WireguardRequests,
} from '../../../base/netlink/index.ts';
import { formatIp, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { Entry } from './entries.ts';
import type { HostKeys } from './keys.ts';
import { linkNames, noWireguard } from './links.ts';
import { prefixText } from '../records/settings.ts';

type PeerEntry = Entry & { readonly kind: 'peer' };

/**
 * The keys and peers of the link `portcullis-wg`, in the network namespace in which it was opened.
 * Synchronous, for a Worker.
 */
export interface WireguardLink {
  /**
   * Sets key and port, and removes a firewall mark. @returns whether they differed. @throws
   * OVERLAY_WIREGUARD_MISSING · NETWORK_KERNEL_…
   */
  ensure(port: number): boolean;
  listed(): readonly ListedWireguardPeer[];
  /**
   * @param wanted the wanted endpoints. A peer with a recent handshake is reported at its wanted endpoint,
   * wherever its packets came from
   */
  entries(wanted: ReadonlyMap<string, Entry>, now: number): readonly PeerEntry[];
  put(entries: readonly PeerEntry[]): void;
  remove(entries: readonly PeerEntry[]): void;
  close(): void;
}

/** WireGuard's REJECT_AFTER_TIME: an older session does not count. */
const sessionMs = 180_000;

export function openWireguardLink(keys: HostKeys): WireguardLink {
  const generic = openNetlink(NETLINK_GENERIC);
  let found: WireguardRequests | undefined;
  const requests = (): WireguardRequests => {
    if (found === undefined) {
      const family = familyNumber(generic, wireguardFamilyName);
      if (family === undefined) throw noWireguard();
      found = wireguardRequests(family, linkNames.wireguard);
    }
    return found;
  };
  const read = (): WireguardDevice => readWireguard(generic.dump(requests().getDevice()));
  const change = (peers: readonly WireguardPeerChange[]): void => {
    if (peers.length > 0) generic.run(requests().setDevice({ peers }));
  };

  /**
   * Announces a new key of this host to every peer by a handshake: turning a keepalive on sends it at once.
   */
  const greet = (peers: readonly ListedWireguardPeer[]): void => {
    const kept = peers.filter(({ keepaliveSeconds }) => keepaliveSeconds > 0);
    change(kept.map(({ publicKey }) => ({ publicKey, keepaliveSeconds: 0 })));
    change(kept.map(({ publicKey, keepaliveSeconds }) => ({ publicKey, keepaliveSeconds })));
  };

  return {
    ensure(port) {
      const { privateKey, publicKey } = keys.current;
      const existing = read();
      const isKey = existing.publicKey === publicKey;
      if (isKey && existing.port === port && existing.mark === 0) return false;
      generic.run(
        requests().setDevice({
          ...(isKey ? {} : { privateKey }),
          ...(existing.port === port ? {} : { port }),
          ...(existing.mark === 0 ? {} : { mark: 0 }),
        }),
      );
      if (!isKey) greet(existing.peers);
      return true;
    },
    listed() {
      // Another program removed the link. It is restored from lists, not from here.
      return tolerating(['ENODEV', 'EOPNOTSUPP'], () => read().peers) ?? [];
    },
    entries: (wanted, now) =>
      read().peers.map((listed): PeerEntry => {
        const { publicKey, endpoint, allowed, keepaliveSeconds, lastHandshakeMs, hasPresharedKey } = listed;
        const known = wanted.get(`peer ${publicKey}`);
        // Another program set the key, and the other host does not have it. Such a peer is not as wanted.
        if (hasPresharedKey)
          return { kind: 'peer', publicKey, remote: '', port: -1, subnets: [], keepaliveSeconds: 0 };
        const there =
          known?.kind === 'peer' && now - lastHandshakeMs < sessionMs
            ? { remote: known.remote, port: known.port }
            : { remote: endpoint === undefined ? '' : formatIp(endpoint.address), port: endpoint?.port ?? 0 };
        return {
          kind: 'peer',
          publicKey,
          ...there,
          subnets: allowed.map(prefixText).sort(),
          keepaliveSeconds,
        };
      }),
    put: (entries) =>
      change(
        // The kernel moves a prefix to the peer that gets it, so it need not be removed from the former peer
        // first.
        entries
          .toSorted((a, b) => b.subnets.length - a.subnets.length)
          .map(({ publicKey, remote, port, subnets, keepaliveSeconds }) => {
            const address = parseIp(remote);
            return {
              publicKey,
              presharedKey: noPresharedKey,
              ...(address !== undefined && { endpoint: { address, port } }),
              allowed: subnets.flatMap((subnet) => parsePrefix(subnet) ?? []),
              keepaliveSeconds,
            };
          }),
      ),
    remove: (entries) => change(entries.map(({ publicKey }) => ({ publicKey, remove: true }))),
    close: () => generic.close(),
  };
}
