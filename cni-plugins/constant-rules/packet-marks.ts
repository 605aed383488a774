import { differs, masked, meta, register, setMeta, u32 } from '../../base/netlink/index.ts';

/**
 * Bits of a packet's mark that rules of several tables share, from the choice of a destination until the
 * packet leaves the host. Each is set only on the first packet of a connection.
 */
export const sharedMarks = {
  /** A balancer chose, or is about to choose, the destination. */
  chosen: 0x20000000,
  /**
   * The bridge passed the packet to the rules of the IP layer, and not back to the link of its sender. The
   * answer crosses the bridge too, so the rules translate it. See docs/decisions/0126.
   */
  bridged: 0x80000000,
} as const;

/** Matches packets whose mark has one of the bits. Uses `register(0)`. */
export const hasMark = (bits: number): readonly Buffer[] => [
  meta('mark', register(0)),
  masked(register(0), u32(bits)),
  differs(register(0), u32(0)),
];

/** Sets bits of the mark. */
export const addMark = (scratch: number, bits: number): readonly Buffer[] => [
  meta('mark', scratch),
  masked(scratch, u32(~bits >>> 0), scratch, u32(bits)),
  setMeta('mark', scratch),
];
