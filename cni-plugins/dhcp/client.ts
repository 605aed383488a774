import { ipv4Number } from './ipv4.ts';
import { readTerms } from './lease-terms.ts';
import type { LeaseTerms } from './lease-terms.ts';
import type { DhcpMessage } from './message.ts';
import { messageTypes, optionCodes as codes } from './option-codes.ts';
import { requestMessage, typeOf } from './requests.ts';
import type { Identity } from './requests.ts';

/**
 * The state machine of a DHCP client for one interface (RFC 2131, section 4.4). Pure: events and the time go
 * in, packets and the time of the next event come out.
 */
export type ClientState =
  /** Without an address: asks for offers. */
  | (Exchange & { readonly phase: 'selecting' })
  /** Asks for the address of an offer. */
  | (Exchange & { readonly phase: 'requesting'; readonly offer: LeaseTerms })
  | { readonly phase: 'bound'; readonly lease: HeldLease; readonly nextAt: number }
  | (Exchange & { readonly phase: 'renewing' | 'rebinding'; readonly lease: HeldLease });

/** A request that is repeated until it is answered. */
interface Exchange {
  readonly xid: number;
  readonly since: number;
  /** How often the request was sent. */
  readonly sent: number;
  /** The time of the next event, in milliseconds. */
  readonly nextAt: number;
}

/** A lease as it is kept. A JSON value. */
export interface HeldLease extends LeaseTerms {
  /** The MAC address from which the server, or its relay, answered. */
  readonly serverMac: string;
  /** Milliseconds since the boot of the host, when the request for it was sent or answered. */
  readonly obtainedAt: number;
}

/** A packet of the client. */
export interface Sent {
  readonly message: DhcpMessage;
  /** Absent: to all servers, by broadcast. */
  readonly to?: { readonly address: number; readonly mac: string };
  /** Source address: 0 before there is a lease. */
  readonly from: number;
}

export interface Step {
  readonly state: ClientState;
  readonly send: readonly Sent[];
  /** `renewed`: the same terms. `changed`: other terms. `lost`: the address must not be used any more. */
  readonly outcome?: 'acquired' | 'renewed' | 'changed' | 'lost';
  /** Messages that were refused, parts of messages that are not used, and reasons, for the log. */
  readonly notes: readonly string[];
}

/** The time and a random number, which the client cannot compute itself. */
export interface Moment {
  /** Milliseconds since the boot of the host. */
  readonly now: number;
  /** From 0 to 1, without 1. */
  readonly random: number;
}

export interface Received {
  readonly message: DhcpMessage;
  /** The MAC address of the sender. */
  readonly from: string;
}

/** Times between repetitions: the last one is used from then on. */
const repetitionsMs = [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000];
const mostRequests = 4;
const shortestRenewalMs = 10_000;
const endless = Number.POSITIVE_INFINITY;

const xidOf = (random: number): number => Math.floor(random * 0x1_0000_0000) >>> 0;

/** Varies a time by a quarter, so that many clients do not ask at once (RFC 2131, section 4.1). */
const varied = (ms: number, random: number): number => ms * (0.75 + random / 2);

const repeatAfter = (sent: number, random: number): number =>
  varied(repetitionsMs[Math.min(sent, repetitionsMs.length - 1)] ?? 0, random);

/** Begins without a lease. */
export function startClient(identity: Identity, { now, random }: Moment): Step {
  return discover(identity, { xid: xidOf(random), since: now, sent: 0, nextAt: now }, { now, random }, {});
}

/**
 * Continues with a lease that another process got. It is renewed at once if its time has come, or if that
 * process recorded the time of the day, as earlier versions did: a clock that was set meanwhile does not say
 * how much of the lease is left.
 */
export function resumeClient(lease: HeldLease, { now }: Pick<Moment, 'now'>): ClientState {
  const { obtainedAt, renewAfter } = lease;
  return boundWith(obtainedAt <= now ? lease : { ...lease, obtainedAt: now - renewAfter * 1000 });
}

function boundWith(lease: HeldLease): ClientState {
  return { phase: 'bound', lease, nextAt: lease.obtainedAt + lease.renewAfter * 1000 };
}

/** Returns when the lease ends, in milliseconds since the boot. */
export const endOf = ({ seconds, obtainedAt }: HeldLease): number =>
  seconds === undefined ? endless : obtainedAt + seconds * 1000;

/** Acts at the time `nextAt` of the state, or later. */
export function tick(state: ClientState, identity: Identity, moment: Moment): Step {
  const { now, random } = moment;
  if (now < state.nextAt) return { state, send: [], notes: [] };
  if (state.phase === 'selecting') return discover(identity, state, moment, {});
  if (state.phase === 'requesting') {
    if (state.sent < mostRequests) return request(identity, state, moment);
    const note = `the server ${state.offer.server} did not confirm its offer of ${state.offer.address}`;
    return restart(identity, moment, { notes: [note] });
  }
  const { lease } = state;
  const [renewAt, rebindAt] = [lease.renewAfter, lease.rebindAfter].map(
    (seconds) => lease.obtainedAt + seconds * 1000,
  ) as [number, number];
  if (now >= endOf(lease))
    return restart(identity, moment, {
      outcome: 'lost',
      notes: [`the lease of ${lease.address} ended, and no server renewed it`],
    });
  if (now < renewAt) return { state: boundWith(lease), send: [], notes: [] };
  const phase = now >= rebindAt ? 'rebinding' : 'renewing';
  const limit = phase === 'renewing' ? rebindAt : endOf(lease);
  const begun =
    state.phase === phase ? state : { phase, xid: xidOf(random), since: now, sent: 0, nextAt: now, lease };
  const pause = Math.max(shortestRenewalMs, (limit - now) / 2);
  const own = ipv4Number(lease.address);
  const message = requestMessage(identity, messageTypes.request, {
    xid: begun.xid,
    secs: (now - begun.since) / 1000,
    clientAddress: own,
  });
  return {
    state: { ...begun, phase, lease, sent: begun.sent + 1, nextAt: Math.min(now + pause, limit) },
    send: [
      {
        message,
        from: own,
        ...(phase === 'renewing' && { to: { address: ipv4Number(lease.server), mac: lease.serverMac } }),
      },
    ],
    notes: [],
  };
}

/** Acts on a message. Messages for others are ignored. */
export function receive(state: ClientState, identity: Identity, received: Received, moment: Moment): Step {
  const ignored: Step = { state, send: [], notes: [] };
  const { message } = received;
  if (state.phase === 'bound' || message.op !== 2) return ignored;
  if (message.xid !== state.xid || !message.hardware.equals(identity.mac)) return ignored;
  const type = typeOf(message);
  if (type === messageTypes.nak) return refused(state, identity, message, moment) ?? ignored;
  if (type !== (state.phase === 'selecting' ? messageTypes.offer : messageTypes.ack)) return ignored;
  const read = readTerms(message);
  const kind = state.phase === 'selecting' ? 'an offer' : 'an acknowledgement';
  if (typeof read === 'string')
    return { ...ignored, notes: [`${kind} of a DHCP server is refused: ${read}`] };
  const { terms } = read;
  const notes = read.ignored.map((part) => `not used of the answer of ${terms.server}: ${part}`);
  if (state.phase === 'selecting') {
    const begun = { xid: state.xid, since: state.since, sent: 0, nextAt: moment.now };
    const step = request(identity, { ...begun, phase: 'requesting', offer: terms }, moment);
    return { ...step, notes };
  }
  const expected =
    state.phase === 'requesting'
      ? state.offer.server
      : state.phase === 'renewing'
        ? state.lease.server
        : terms.server;
  if (terms.server !== expected)
    return { ...ignored, notes: [`an answer of ${terms.server} is refused: ${expected} was asked`] };
  if (state.phase === 'requesting' && terms.address !== state.offer.address)
    return {
      ...ignored,
      notes: [`${terms.server} confirms ${terms.address}, but offered ${state.offer.address}: it is refused`],
    };
  const lease: HeldLease = { ...terms, serverMac: received.from, obtainedAt: moment.now };
  const outcome =
    state.phase === 'requesting' ? 'acquired' : sameTerms(state.lease, terms) ? 'renewed' : 'changed';
  return { state: boundWith(lease), send: [], outcome, notes };
}

/** Handles a NAK. Returns undefined if the server may not refuse. */
function refused(
  state: Exclude<ClientState, { phase: 'bound' }>,
  identity: Identity,
  message: DhcpMessage,
  moment: Moment,
): Step | undefined {
  const server = message.options.get(codes.server);
  const from = server?.length === 4 ? server.readUInt32BE(0) : undefined;
  if (state.phase === 'selecting' || from === undefined) return undefined;
  if (state.phase === 'requesting') {
    if (from !== ipv4Number(state.offer.server)) return undefined;
    return restart(identity, moment, {
      later: true,
      notes: [`the server ${state.offer.server} refuses the address ${state.offer.address} that it offered`],
    });
  }
  if (state.phase === 'renewing' && from !== ipv4Number(state.lease.server)) return undefined;
  return restart(identity, moment, {
    outcome: 'lost',
    notes: [`the server ${state.lease.server} refuses to renew ${state.lease.address}`],
  });
}

interface Restart {
  readonly outcome?: 'lost';
  readonly notes?: readonly string[];
  /** Whether to wait before the first request, because a server refuses its own offers. */
  readonly later?: boolean;
}

function restart(identity: Identity, moment: Moment, { later = false, ...more }: Restart): Step {
  const { now, random } = moment;
  const begun = { xid: xidOf(random), since: now, sent: later ? 1 : 0, nextAt: now };
  if (!later) return discover(identity, begun, moment, more);
  const state: ClientState = { ...begun, phase: 'selecting', nextAt: now + repeatAfter(0, random) };
  return { state, send: [], notes: [], ...more };
}

function discover(
  identity: Identity,
  { xid, since, sent }: Exchange,
  { now, random }: Moment,
  { outcome, notes = [] }: Restart,
): Step {
  const message = requestMessage(identity, messageTypes.discover, { xid, secs: (now - since) / 1000 });
  return {
    state: { phase: 'selecting', xid, since, sent: sent + 1, nextAt: now + repeatAfter(sent, random) },
    send: [{ message, from: 0 }],
    ...(outcome !== undefined && { outcome }),
    notes,
  };
}

function request(
  identity: Identity,
  state: Extract<ClientState, { phase: 'requesting' }>,
  { now, random }: Moment,
): Step {
  const { xid, since, sent, offer } = state;
  const message = requestMessage(identity, messageTypes.request, {
    xid,
    secs: (now - since) / 1000,
    requested: ipv4Number(offer.address),
    server: ipv4Number(offer.server),
  });
  return {
    state: { ...state, sent: sent + 1, nextAt: now + repeatAfter(sent, random) },
    send: [{ message, from: 0 }],
    notes: [],
  };
}

/** Returns the packet that gives the lease back. It is not answered. */
export function release(identity: Identity, lease: HeldLease, { random }: Moment): Sent {
  const own = ipv4Number(lease.address);
  const server = ipv4Number(lease.server);
  return {
    message: requestMessage(identity, messageTypes.release, {
      xid: xidOf(random),
      secs: 0,
      clientAddress: own,
      server,
    }),
    from: own,
    to: { address: server, mac: lease.serverMac },
  };
}

function sameTerms(lease: HeldLease, terms: LeaseTerms): boolean {
  const shown = ({ address, length, router, routes, nameservers, domain, search }: LeaseTerms): string =>
    JSON.stringify([address, length, router, routes, nameservers, domain, search]);
  return shown(lease) === shown(terms);
}
