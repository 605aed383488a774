import {
  attribute,
  attributesOf,
  elementsOf,
  nested,
  text,
  textOf,
  u32,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
} from '../protocol/wire.ts';
import { tolerating } from '../protocol/kernel-failure.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import {
  RTM_DELQDISC,
  RTM_GETQDISC,
  RTM_GETTFILTER,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
} from './message-numbers.ts';

/**
 * Traffic control: token buckets, the ingress hook, redirection. Source: linux/rtnetlink.h,
 * linux/pkt_sched.h, linux/pkt_cls.h, tc-tbf(8).
 */

/** Without this flag, this request is answered only to the listeners of its group. */
const NLM_F_ECHO = 0x8;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TC_H_ROOT = 0xffffffff;
const TC_H_INGRESS = 0xfffffff1;
const ingressHandle = 0xffff0000;
const firstHandle = 0x10000;
const TCA_U32_CLASSID = 1;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
const ETH_P_ALL = 0x0003;

/** struct tcmsg */
function header(index: number, handle: number, parent: number, info = 0): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(handle >>> 0, 8);
  bytes.writeUInt32LE(parent >>> 0, 12);
  bytes.writeUInt32LE(info >>> 0, 16);
  return bytes;
}

export interface TokenBucket {
  /** Bytes per second: 64 bits. */
  readonly rate: bigint;
  /** Bytes that may wait: 32 bits. */
  readonly limit: number;
  /** The burst as time, in scheduler ticks of 64 ns: 32 bits. */
  readonly buffer: number;
}

/** Replaces any root qdisc of the link. */
export function setTokenBucket(index: number, bucket: TokenBucket): Request {
  const parameters = Buffer.alloc(36); // struct tc_tbf_qopt
  const wide = bucket.rate > 0xffffffffn;
  parameters.writeUInt32LE(wide ? 0xffffffff : Number(bucket.rate), 8);
  parameters.writeUInt32LE(bucket.limit, 24);
  parameters.writeUInt32LE(bucket.buffer, 28);
  const rate64 = Buffer.alloc(8);
  rate64.writeBigUInt64LE(bucket.rate);
  return {
    what: 'limit the traffic of the link',
    on: `#${index}`,
    type: RTM_NEWQDISC,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([
      header(index, firstHandle, TC_H_ROOT),
      attribute(TCA_KIND, text('tbf')),
      nested(
        TCA_OPTIONS,
        attribute(TCA_TBF_PARMS, parameters),
        ...(wide ? [attribute(TCA_TBF_RATE64, rate64)] : []),
      ),
    ]),
  };
}

/** Allows redirection of packets that arrive on the link. Refused (EEXIST) if this exists. */
export function addIngress(index: number): Request {
  return {
    what: 'add the ingress hook of the link',
    on: `#${index}`,
    type: RTM_NEWQDISC,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([header(index, ingressHandle, TC_H_INGRESS), attribute(TCA_KIND, text('ingress'))]),
  };
}

/** Refused (ENOENT, EINVAL) if there is none. */
export function deleteQdisc(index: number, place: 'root' | 'ingress'): Request {
  return {
    what: `remove the ${place === 'root' ? 'traffic limit' : 'ingress hook'} of the link`,
    on: `#${index}`,
    type: RTM_DELQDISC,
    body:
      place === 'root' ? header(index, firstHandle, TC_H_ROOT) : header(index, ingressHandle, TC_H_INGRESS),
  };
}

/** Redirects all packets that arrive on the link to another link. Adds one filter with priority 1. */
export function addRedirection(index: number, to: number): Request {
  const selector = Buffer.alloc(32); // struct tc_u32_sel with one key, which matches everything
  selector.writeUInt8(TC_U32_TERMINAL, 0);
  selector.writeUInt8(1, 2);
  const mirred = Buffer.alloc(28); // struct tc_mirred
  mirred.writeInt32LE(TC_ACT_STOLEN, 8);
  mirred.writeInt32LE(TCA_EGRESS_REDIR, 20);
  mirred.writeUInt32LE(to, 24);
  const protocol = Buffer.alloc(2);
  protocol.writeUInt16BE(ETH_P_ALL);
  return {
    what: 'redirect the incoming packets of the link',
    on: `#${index}`,
    type: RTM_NEWTFILTER,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([
      header(index, 0, ingressHandle, (1 << 16) | protocol.readUInt16LE()),
      attribute(TCA_KIND, text('u32')),
      nested(
        TCA_OPTIONS,
        attribute(TCA_U32_CLASSID, u32(firstHandle | 1)),
        attribute(TCA_U32_SEL, selector),
        nested(
          TCA_U32_ACT,
          nested(
            1,
            attribute(TCA_ACT_KIND, text('mirred')),
            nested(TCA_ACT_OPTIONS, attribute(TCA_MIRRED_PARMS, mirred)),
          ),
        ),
      ),
    ]),
  };
}

export interface Qdisc {
  readonly kind: string;
  readonly bucket?: TokenBucket;
}

/**
 * Returns the qdisc at this place, or undefined if there is none. One answer, however many links the host
 * has.
 * @throws PortcullisError with any other refusal
 */
export function qdiscAt(socket: NetlinkSocket, index: number, place: 'root' | 'ingress'): Qdisc | undefined {
  const request: Request = {
    what: `look up the ${place === 'root' ? 'traffic limit' : 'ingress hook'} of the link`,
    on: `#${index}`,
    type: RTM_GETQDISC,
    flags: NLM_F_ECHO,
    body: header(index, 0, place === 'root' ? TC_H_ROOT : TC_H_INGRESS),
  };
  const answer = tolerating(['ENOENT'], () => socket.ask(request)[0]);
  if (answer === undefined) return undefined;
  const attributes = attributesOf(answer.body, 20);
  const kind = textOf(attributes.get(TCA_KIND));
  const options = attributesOf(attributes.get(TCA_OPTIONS) ?? Buffer.alloc(0));
  const parameters = options.get(TCA_TBF_PARMS);
  if (kind !== 'tbf' || parameters === undefined || parameters.length < 36) return { kind };
  const rate = options.get(TCA_TBF_RATE64)?.readBigUInt64LE(0) ?? BigInt(parameters.readUInt32LE(8));
  return { kind, bucket: { rate, limit: parameters.readUInt32LE(24), buffer: parameters.readUInt32LE(28) } };
}

/** Returns the indexes of the links to which packets that arrive on this link are redirected. */
export function listRedirections(socket: NetlinkSocket, index: number): number[] {
  const request: Request = {
    what: 'list redirections',
    on: `#${index}`,
    type: RTM_GETTFILTER,
    body: header(index, 0, ingressHandle),
  };
  return socket.dump(request).flatMap((message) => {
    const options = attributesOf(attributesOf(message.body, 20).get(TCA_OPTIONS) ?? Buffer.alloc(0));
    return elementsOf(options.get(TCA_U32_ACT)).flatMap((action) => {
      const parameters = attributesOf(attributesOf(action).get(TCA_ACT_OPTIONS) ?? Buffer.alloc(0)).get(
        TCA_MIRRED_PARMS,
      );
      return parameters === undefined || parameters.length < 28 ? [] : [parameters.readUInt32LE(24)];
    });
  });
}
