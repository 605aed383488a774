import { attribute } from '../protocol/wire.ts';
import type { Request } from '../protocol/socket.ts';

/** Groups to which NFLOG sends packets, over nfnetlink. Source: linux/netfilter/nfnetlink_log.h. */

const NFNL_SUBSYS_ULOG = 4;
const NFULNL_MSG_CONFIG = 1;
const NFULA_CFG_CMD = 1;
const NFULNL_CFG_CMD_BIND = 1;

/**
 * Binds a group (16 bits) to the socket that sends this request, until the socket is closed or its process
 * dies. Refused with EPERM if another socket of the network namespace has the group, or without
 * CAP_NET_ADMIN. Refused with EINVAL if the kernel has no NFLOG.
 */
export function bindLogGroup(group: number): Request {
  return {
    what: 'bind the NFLOG group',
    on: String(group),
    type: (NFNL_SUBSYS_ULOG << 8) | NFULNL_MSG_CONFIG,
    // struct nfgenmsg with the group in network order; struct nfulnl_msg_config_cmd has one byte.
    body: Buffer.concat([
      Buffer.of(0, 0, group >> 8, group & 0xff),
      attribute(NFULA_CFG_CMD, Buffer.of(NFULNL_CFG_CMD_BIND)),
    ]),
  };
}

/**
 * Returns the netlink port of the socket that holds a group. For the first socket of a process this is its
 * pid.
 * @param table content of /proc/net/netfilter/nfnetlink_log
 */
export function holderOfLogGroup(table: string, group: number): number | undefined {
  const lines = table.split('\n').map((line) => line.trim().split(/\s+/u).map(Number));
  return lines.find(([listed]) => listed === group)?.[1];
}
