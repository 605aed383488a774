import { masked, meta, payload, register, setMeta, u32, verdict } from '../../../base/netlink/index.ts';
import type { DataType } from '../../../base/netlink/index.ts';
import { sharedMarks } from '../../constant-rules/packet-marks.ts';
import type { Family } from '../model/model.ts';
import { insideBit } from './inside-plane.ts';

export { addMark as mark, hasMark as has } from '../../constant-rules/packet-marks.ts';

/** Parts of rules: the fields of a packet, and the bits of its mark. Values only. */

/**
 * Bits in the mark of a connection's first packet, from the choice until it leaves the host: we chose its
 * destination; its source must become ours; its answer crosses the bridge, and is translated there.
 */
export const { chosen: chosenMark, bridged: bridgedMark } = sharedMarks;
export const hiddenMark = 0x40000000;

interface Layout {
  readonly ip: 'ip' | 'ip6';
  readonly address: DataType;
  /** Length of an address, in registers. */
  readonly width: number;
  readonly source: (to: number) => Buffer;
  readonly destination: (to: number) => Buffer;
}

export const layouts: Readonly<Record<Family, Layout>> = {
  4: {
    ip: 'ip',
    address: 'ipv4_addr',
    width: 1,
    source: (to) => payload('network', 12, 4, to),
    destination: (to) => payload('network', 16, 4, to),
  },
  6: {
    ip: 'ip6',
    address: 'ipv6_addr',
    width: 4,
    source: (to) => payload('network', 8, 16, to),
    destination: (to) => payload('network', 24, 16, to),
  },
};

export const portFrom = (to: number): Buffer => payload('transport', 0, 2, to);
export const portTo = (to: number): Buffer => payload('transport', 2, 2, to);

export const unmark = (scratch: number): readonly Buffer[] => [
  meta('mark', scratch),
  masked(scratch, u32(~(chosenMark | hiddenMark | bridgedMark))),
  setMeta('mark', scratch),
];

/**
 * The mode's number is passed in the packet's priority, which routing sets again. nft 1.0.6 cannot list a
 * rule that looks up in one map what it found in another: it aborts, whatever else it had to list.
 */
export const toMode = (chain: 'inside_mode' | 'mode'): readonly Buffer[] => [
  setMeta('priority', register(0)),
  verdict({ goto: chain }),
];

/**
 * Loads the protocol as a part of a server's key. The inside plane of a server has the protocol with a bit
 * that none of the protocols has.
 */
export const protocolTo = (to: number, inside?: boolean): readonly Buffer[] =>
  inside === true
    ? [meta('l4proto', to), masked(to, Buffer.of(0xff & ~insideBit), to, Buffer.of(insideBit))]
    : [meta('l4proto', to)];
