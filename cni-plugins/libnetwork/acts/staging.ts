import { statSync } from 'node:fs';
import { join } from 'node:path';
import {
  closeFd,
  inNamespaces,
  NETLINK_ROUTE,
  O_RDONLY,
  openFile,
  pinNamespaces,
  unpinNamespaces,
  withOpen,
} from '../../../base/kernel/index.ts';
import type { Host, Hosts } from '../../namespaces/caller.ts';
import { namespaceStands } from '../../namespaces/netns.ts';
import type { Caller } from '../../calls/plugin-call.ts';
import {
  createVeth,
  deleteLink,
  findLink,
  listSettings,
  moveLink,
  openNetlink,
  putAddress,
  setFlag,
  setMac,
  tolerating,
} from '../../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import { ipBytes, parsePrefix } from '../../../base/addresses/index.ts';
import type { CniResult } from '../../spec/result.ts';
import { noInterface } from '../protocol/failures.ts';
import { interfaceName } from './records.ts';
import type { EndpointLink } from './records.ts';

/**
 * The namespace in which plugins create an endpoint's link and remove it. The container's own namespace does
 * not exist yet when the engine requests the link, and no longer exists when the engine gives it back. In
 * between the link is in the engine's namespace or in the container's, and no staging namespace exists.
 * Synchronous, for a Worker.
 */
export interface Staging {
  /** Pins a namespace unless it is pinned already, and returns its path. */
  open(endpoint: string): string;
  close(endpoint: string): void;
  /**
   * Moves the link that the plugins created into the engine's namespace, sets it down and renames it.
   * @throws NETWORK_CNM_NO_INTERFACE
   */
  handOver(
    endpoint: string,
    caller: Caller,
    wanted: { readonly network: string; readonly name: string; readonly mac: string },
  ): EndpointLink;
  /**
   * Moves the link back and restores the addresses that the engine removed from it. Returns false if the link
   * is gone.
   */
  takeBack(endpoint: string, caller: Caller, name: string, addresses: CniResult['ips']): boolean;
  /**
   * Creates a link with the same addresses in place of a lost one. The upstream plugins bridge and ptp remove
   * their masquerading by the addresses that they find on the interface.
   */
  standIn(endpoint: string, caller: Caller, addresses: CniResult['ips']): void;
  /** Removes the link that plugins would find there. */
  dropLink(endpoint: string): void;
  /**
   * Returns where the link is. `container`: a container may have it; `host`: in the engine's namespace, on
   * the way to a container or back; `nowhere`: it was removed with its container.
   * @param hostLinks links that the plugins created on the host's side
   */
  placeOf(
    caller: Caller,
    link: EndpointLink | undefined,
    sandbox: string | undefined,
    hostLinks: readonly string[],
  ): LinkPlace;
  /** Returns the names that no link of the engine's namespace has. */
  missing(caller: Caller, names: readonly string[]): string[];
  /** Removes those of the bridges that have no port. */
  removeBridges(caller: Caller, names: readonly string[]): void;
}

export type LinkPlace = 'container' | 'host' | 'nowhere';

export function openStaging(folder: string, hosts: Hosts): Staging {
  const dirOf = (endpoint: string): string => join(folder, endpoint.slice(0, 64));
  const pathOf = (endpoint: string): string => join(dirOf(endpoint), 'net');

  /** These paths are our own, whatever root folder the engine uses. */
  const inHost = <T>({ netnsFd }: Caller, body: (host: Host) => T): T =>
    hosts.with(netnsFd === undefined ? {} : { netnsFd }, body);

  const inside = <T>(endpoint: string, body: (pod: NetlinkSocket, fd: number) => T): T =>
    withOpen(pathOf(endpoint), O_RDONLY, (fd) => {
      using pod = inNamespaces({ net: fd }, () => openNetlink(NETLINK_ROUTE));
      return body(pod, fd);
    });

  const put = (pod: NetlinkSocket, index: number, addresses: CniResult['ips']): void =>
    pod.run(
      addresses.flatMap(({ address }) => {
        const prefix = parsePrefix(address);
        return prefix === undefined
          ? []
          : [
              putAddress(
                index,
                { address: ipBytes(prefix.address), length: prefix.length },
                { prefixRoute: true },
              ),
            ];
      }),
    );

  return {
    open(endpoint) {
      const path = pathOf(endpoint);
      if (namespaceStands(path)) return path;
      unpinNamespaces(dirOf(endpoint));
      pinNamespaces({ dir: dirOf(endpoint), types: ['net'], sysctls: {} });
      return path;
    },
    close: (endpoint) => unpinNamespaces(dirOf(endpoint)),
    handOver: (endpoint, caller, { network, name, mac }) =>
      inHost(caller, (host) =>
        inside(endpoint, (pod) => {
          const link = findLink(pod, { name: interfaceName });
          if (link === undefined) throw noInterface(network, interfaceName);
          if (mac !== '' && link.mac !== mac)
            pod.run([setFlag(link.index, 'up', false), setMac(link.index, mac)]);
          withFd(caller, host, (fd) => pod.run([moveLink(link.index, fd, name)]));
          return { name, mac: mac === '' ? link.mac : mac };
        }),
      ),
    takeBack: (endpoint, caller, name, addresses) =>
      inHost(caller, (host) =>
        inside(endpoint, (pod, fd) => {
          const existing = findLink(host.route, { name });
          if (existing !== undefined)
            host.route.run([
              setFlag(existing.index, 'up', false),
              moveLink(existing.index, fd, interfaceName),
            ]);
          const link = findLink(pod, { name: interfaceName });
          if (link === undefined) return false;
          put(pod, link.index, addresses);
          return true;
        }),
      ),
    standIn: (endpoint, caller, addresses) =>
      inHost(caller, () =>
        inside(endpoint, (pod, fd) => {
          const peer = { name: 'standin0', netnsFd: fd, mac: Buffer.from('0a5800000001', 'hex') };
          pod.run([createVeth({ name: interfaceName, group: 0, mtu: 1500, master: 0, peer })]);
          const link = findLink(pod, { name: interfaceName });
          if (link !== undefined) put(pod, link.index, addresses);
        }),
      ),
    dropLink: (endpoint) =>
      inside(endpoint, (pod) => {
        const link = findLink(pod, { name: interfaceName });
        if (link !== undefined) pod.run([deleteLink({ index: link.index })]);
      }),
    placeOf: (caller, link, sandbox, hostLinks) =>
      inHost(caller, ({ route }): LinkPlace => {
        if (link === undefined || findLink(route, { name: link.name }) !== undefined) return 'host';
        const existing = new Map(hostLinks.map((name) => [name, findLink(route, { name })?.kind]));
        const ends = hostLinks.filter((name) => existing.get(name) !== 'bridge');
        // The other end of a pair has exactly the same lifetime.
        const exists =
          ends.length > 0
            ? ends.some((name) => existing.get(name) !== undefined)
            : sandbox !== undefined && isNamespace(caller, sandbox);
        return exists ? 'container' : 'nowhere';
      }),
    missing: (caller, names) =>
      inHost(caller, ({ route }) => names.filter((name) => findLink(route, { name }) === undefined)),
    removeBridges: (caller, names) =>
      inHost(caller, ({ route }) => {
        const links = listSettings(route);
        for (const name of names) {
          const bridge = links.find((link) => link.name === name && link.kind === 'bridge');
          if (bridge === undefined || links.some(({ master }) => master === bridge.index)) continue;
          tolerating(['ENODEV'], () => route.run([deleteLink({ index: bridge.index })]));
        }
      }),
  };
}

/** @param path a path in the engine's root folder */
function isNamespace({ rootFd }: Caller, path: string): boolean {
  try {
    return (
      statSync(rootFd === undefined ? path : `/proc/self/fd/${rootFd}${path}`).dev ===
      statSync('/proc/self/ns/net').dev
    );
  } catch {
    return false;
  }
}

function withFd<T>({ netnsFd }: Caller, host: Host, body: (fd: number) => T): T {
  if (netnsFd !== undefined) return body(netnsFd);
  using opened = new DisposableStack();
  const fd = opened.adopt(
    host.inside(() => openFile('/proc/thread-self/ns/net', O_RDONLY)),
    closeFd,
  );
  return body(fd);
}
