import { MSG_TRUNC, closeFd, receiveWaiting } from '../../kernel/index.ts';
import { readLink } from './links.ts';
import { RTM_DELLINK, RTM_NEWLINK } from './message-numbers.ts';
import type { Link } from './links.ts';
import { openEventSocket, requireOverflow } from './event-socket.ts';
import { decodeMessages } from '../protocol/wire.ts';
import type { Received } from '../protocol/wire.ts';

/**
 * The kernel's events about removed and changed links, in the network namespace in which it was opened.
 * Synchronous, for a Worker.
 */
export interface LinkEvents {
  /**
   * Returns the links that went since the last call: deleted, moved to another namespace, or taken off a
   * bridge. `changed`: the last state of the links that changed. `missed`: some events were lost, and any
   * link may have gone or changed. Does not wait.
   */
  drain(): Drained;
  close(): void;
}

export interface Drained {
  readonly gone: readonly Pick<Link, 'group' | 'name'>[];
  readonly changed: readonly Pick<Link, 'group' | 'kind' | 'master' | 'name' | 'up'>[];
  readonly missed: boolean;
}

/** Family of messages that describe a link only as a port of its bridge. */
const AF_BRIDGE = 7;

const RTMGRP_LINK = 1;
const longest = 64 * 1024;

/**
 * Opens a socket that receives the changes of links in the network namespace of the calling thread.
 * @throws PortcullisError if the kernel refuses the socket or its options
 */
export function openLinkEvents(): LinkEvents {
  const fd = openEventSocket(RTMGRP_LINK);
  const buffer = Buffer.allocUnsafeSlow(longest);
  return {
    drain() {
      const gone: Drained['gone'][number][] = [];
      const changed = new Map<number, Drained['changed'][number]>();
      let missed = false;
      for (;;) {
        try {
          const length = receiveWaiting(fd, buffer, MSG_TRUNC);
          if (length === undefined) return { gone, changed: [...changed.values()], missed };
          if (length > buffer.length) missed = true;
          else for (const message of decodeMessages(buffer.subarray(0, length))) note(message, gone, changed);
        } catch (thrown) {
          requireOverflow(thrown);
          missed = true;
        }
      }
    },
    close: () => closeFd(fd),
  };
}

function note(
  message: Received,
  gone: Drained['gone'][number][],
  changed: Map<number, Drained['changed'][number]>,
): void {
  if (message.type !== RTM_DELLINK && message.type !== RTM_NEWLINK) return;
  const link = readLink(message);
  const ofPort = message.body.readUInt8(0) === AF_BRIDGE;
  if (message.type === RTM_NEWLINK) {
    if (!ofPort) changed.set(link.index, link);
    return;
  }
  gone.push(link);
  if (!ofPort) changed.delete(link.index);
}
