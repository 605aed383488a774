/**
 * DNS messages, as far as a name server needs them: the question (RFC 1035, section 4.1; EDNS of RFC 6891),
 * and the answer. Everything else in a message passes through unread. Pure.
 */

export const type = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  TSIG: 250,
  ANY: 255,
} as const;
export const classIn = 1;
export const rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

/** RFC 8914: why there is no answer. */
export const extendedError = { notReady: 14, prohibited: 18, noReachableAuthority: 22 } as const;

export const headerBytes = 12;
/** RFC 1035, section 4.2.1: the limit of a datagram for a client that does not announce another. */
export const plainDatagramBytes = 512;
/** The limit for UDP in both directions: it passes every link unfragmented (DNS flag day 2020). */
export const datagramBytes = 1232;

/** In the flags of an OPT record (RFC 3225). */
export const dnssecOk = 0x8000;

export const flag = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursion: 0x0100,
  recursionAvailable: 0x0080,
} as const;
export const opcodeMask = 0x7800;
