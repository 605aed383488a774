import { closeFd, hearAllNamespaces, receiveHeard } from '../../kernel/index.ts';
import { linkFlags } from './link-settings.ts';
import { openEventSocket, requireOverflow } from './event-socket.ts';
import { decodeMessages } from '../protocol/wire.ts';
import type { Received } from '../protocol/wire.ts';
import { RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_NEWLINK } from './message-numbers.ts';

/**
 * The kernel's events about links, addresses and routes inside the network namespaces to which our links
 * lead. One socket serves all of them, and no namespace is entered. Synchronous, for a Worker.
 */
export interface NamespaceEvents {
  /**
   * Reads the waiting events without blocking. The number of events in one call is limited, so that a source
   * of many events takes only a little of the thread's time.
   */
  drain(): HeardChanges;
  close(): void;
}

export interface HeardChanges {
  /** Numbers of namespaces in which an address or route was removed, or a link was removed or is down. */
  readonly lossy: ReadonlySet<number>;
  /** Numbers of all namespaces in which something changed. */
  readonly changed: ReadonlySet<number>;
  /** Some events were lost: other namespaces may have changed. */
  readonly missed: boolean;
}

/**
 * RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
 * (linux/rtnetlink.h)
 */
const groups = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
const longest = 16 * 1024;
const mostEvents = 4096;

/**
 * Opens a socket that receives changes from all network namespaces that have a number in that of the calling
 * thread.
 * @throws PortcullisError if the kernel refuses the socket or its options
 */
export function openNamespaceEvents(): NamespaceEvents {
  const fd = openEventSocket(groups, hearAllNamespaces);
  const buffer = Buffer.allocUnsafeSlow(longest);
  return {
    drain() {
      const [lossy, changed] = [new Set<number>(), new Set<number>()];
      /** By namespace and index: links that are down at the end. */
      const down = new Map<string, number>();
      let missed = false;
      for (let count = 0; count < mostEvents; count += 1) {
        try {
          const heard = receiveHeard(fd, buffer);
          if (heard === undefined) break;
          const { length, namespace } = heard;
          if (namespace === undefined) continue;
          changed.add(namespace);
          if (length > buffer.length) lossy.add(namespace);
          else
            for (const message of decodeMessages(buffer.subarray(0, length)))
              note(message, namespace, lossy, down);
        } catch (thrown) {
          requireOverflow(thrown);
          missed = true;
        }
      }
      for (const namespace of down.values()) lossy.add(namespace);
      return { lossy, changed, missed };
    },
    close: () => closeFd(fd),
  };
}

function note(
  { type, body }: Received,
  namespace: number,
  lossy: Set<number>,
  down: Map<string, number>,
): void {
  if (type === RTM_DELADDR || type === RTM_DELROUTE || type === RTM_DELLINK) lossy.add(namespace);
  if (type !== RTM_NEWLINK) return;
  const link = `${namespace} ${body.readInt32LE(4)}`;
  if ((body.readUInt32LE(8) & linkFlags.up) === 0) down.set(link, namespace);
  else down.delete(link);
}
