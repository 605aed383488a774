import {
  AF_NETLINK,
  MSG_TRUNC,
  NETLINK_ROUTE,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_SOCKET,
  SO_RCVBUFFORCE,
  bindNetlink,
  closeFd,
  isErrno,
  receiveWaiting,
  setSockOpt,
  socket,
} from '../../base/kernel/index.ts';
import { RTM_DELLINK, readLink } from './links.ts';
import type { Link } from './links.ts';
import { decodeMessages } from './wire.ts';

/** What the kernel says of links that go, in the network namespace in which it was opened. Synchronous, for a Worker. */
export interface LinkEvents {
  /**
   * Links that went since the last call: deleted, moved to another namespace, or taken off a bridge. `missed`: some events were lost, and any
   * link may have gone. Does not wait.
   */
  drain(): { readonly gone: readonly Pick<Link, 'group' | 'name'>[]; readonly missed: boolean };
  close(): void;
}

const RTMGRP_LINK = 1;
/** A thousand events, and no memory while there are none. */
const waitingBytes = 2 * 1024 * 1024;
const longest = 64 * 1024;

export function openLinkEvents(): LinkEvents {
  const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
  try {
    setSockOpt(fd, SOL_SOCKET, SO_RCVBUFFORCE, waitingBytes);
    bindNetlink(fd, RTMGRP_LINK);
  } catch (thrown) {
    closeFd(fd);
    throw thrown;
  }
  const buffer = Buffer.allocUnsafeSlow(longest);
  return {
    drain() {
      const gone: Pick<Link, 'group' | 'name'>[] = [];
      let missed = false;
      for (;;) {
        try {
          const length = receiveWaiting(fd, buffer, MSG_TRUNC);
          if (length === undefined) return { gone, missed };
          if (length > buffer.length) missed = true;
          else
            for (const message of decodeMessages(buffer.subarray(0, length)))
              if (message.type === RTM_DELLINK) gone.push(readLink(message));
        } catch (thrown) {
          // More came than the socket holds: the kernel says so once, and what the socket holds can be read.
          if (!isErrno(thrown, 'ENOBUFS')) throw thrown;
          missed = true;
        }
      }
    },
    close: () => closeFd(fd),
  };
}
