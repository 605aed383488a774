import {
  AF_NETLINK,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_SOCKET,
  bindNetlink,
  closeFd,
  receiveWaiting,
  setSockOpt,
  socket,
} from '../../base/kernel/index.ts';

const NETLINK_NETFILTER = 12;
/** NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h) as a bit of the old groups. */
const nftablesGroup = 1 << (7 - 1);
const SO_RCVBUFFORCE = 33;
const lookEveryMs = 2;

/** The kernel's events of nf_tables, as `nft monitor` reads them: shows when a change mentions an address. */
export interface KernelEvents {
  /** Resolves with the time (`performance.now()`) of the kernel's event of a change with these bytes. */
  seen(bytes: Buffer): Promise<number>;
  /** Returns the number of messages since it was opened. */
  messages(): number;
  close(): void;
}

export function openKernelEvents(): KernelEvents {
  const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_NETFILTER);
  setSockOpt(fd, SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024);
  bindNetlink(fd, nftablesGroup);
  const waiting = new Map<string, { readonly bytes: Buffer; resolve(at: number): void }>();
  const buffer = Buffer.alloc(1024 * 1024);
  let messages = 0;
  const look = (): void => {
    for (;;) {
      const length = receiveWaiting(fd, buffer);
      if (length === undefined) return;
      messages++;
      const reported = buffer.subarray(0, length);
      for (const [key, { bytes, resolve }] of waiting) {
        if (!reported.includes(bytes)) continue;
        waiting.delete(key);
        resolve(performance.now());
      }
    }
  };
  const timer = setInterval(look, lookEveryMs);
  return {
    seen: (bytes) => new Promise((resolve) => waiting.set(bytes.toString('hex'), { bytes, resolve })),
    messages: () => messages,
    close() {
      clearInterval(timer);
      closeFd(fd);
    },
  };
}
