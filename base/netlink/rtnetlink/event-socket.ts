import {
  AF_NETLINK,
  bindNetlink,
  enter,
  isErrno,
  NETLINK_ROUTE,
  prepareFd,
  setSockOpt,
  SO_RCVBUFFORCE,
  SOCK_NONBLOCK,
  SOCK_RAW,
  socket,
  SOL_SOCKET,
} from '../../kernel/index.ts';

/** Holds a thousand events. The kernel takes no memory while there are none. */
const waitingBytes = 2 * 1024 * 1024;

/**
 * Opens a non-blocking rtnetlink socket of the calling thread's network namespace that receives the events of
 * the groups.
 * @param groups bits of RTMGRP_* (linux/rtnetlink.h)
 * @param prepare called before the socket receives anything
 * @returns its descriptor
 * @throws PortcullisError if the kernel refuses the socket or its options
 */
export function openEventSocket(groups: number, prepare?: (fd: number) => void): number {
  return prepareFd(enter(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE)), (fd) => {
    setSockOpt(fd, SOL_SOCKET, SO_RCVBUFFORCE, waitingBytes);
    prepare?.(fd);
    bindNetlink(fd, groups);
  });
}

/**
 * Throws what a read threw, unless the kernel reports that more events arrived than the socket holds. It
 * reports that once, and the events in the socket can still be read.
 */
export function requireOverflow(thrown: unknown): void {
  if (!isErrno(thrown, 'ENOBUFS')) throw thrown;
}
