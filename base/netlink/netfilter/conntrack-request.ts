import type { Request } from '../protocol/socket.ts';

const NFNL_SUBSYS_CTNETLINK = 1;

/**
 * Returns a request about tracked connections (linux/netfilter/nfnetlink_conntrack.h).
 * @param family AF_INET, AF_INET6, or 0 for both
 * @param message IPCTNL_MSG_CT_*
 */
export const conntrackRequest = (
  what: string,
  family: number,
  message: number,
  ...attributes: readonly Uint8Array[]
): Request => ({
  what,
  on: 'conntrack',
  type: (NFNL_SUBSYS_CTNETLINK << 8) | message,
  flags: 0,
  body: Buffer.concat([Buffer.of(family, 0, 0, 0), ...attributes]),
});
