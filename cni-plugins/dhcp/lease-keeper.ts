import { uptime } from 'node:os';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { endOf, receive, resumeClient, startClient, tick } from './client.ts';
import type { ClientState, HeldLease, Moment, Received, Sent, Step } from './client.ts';
import type { Exchange, ExchangeListener } from './exchange.ts';
import type { Identity } from './requests.ts';

/**
 * All leases of the daemon: their clients run here with one timer. A socket is open only while an answer is
 * awaited.
 */
export interface LeaseKeeper {
  /**
   * Gets a lease, and keeps it from then on.
   * @throws NETWORK_DHCP_NO_LEASE when no server gave a usable one in time, or the request was cancelled
   */
  acquire(key: string, subject: Subject): Promise<HeldLease>;
  /** Ends an `acquire` that waits. */
  cancel(key: string): void;
  /** Continues with a lease of the database; without one, asks for one until there is one. */
  resume(key: string, subject: Subject, lease: HeldLease | undefined): void;
  /** Forgets the client, and returns its lease, which is not renewed any more. */
  forget(key: string): HeldLease | undefined;
  close(): void;
}

/** An interface of a pod that has, or is to get, a lease. */
export interface Subject {
  readonly identity: Identity;
  /** For errors and log lines: NETWORK/CONTAINERID/IFNAME. */
  readonly name: string;
}

export interface LeaseKeeperDeps {
  /**
   * Opens a socket on the interface of a client.
   * @returns undefined if the attachment is gone: its client is forgotten
   */
  open(key: string, listener: ExchangeListener): Exchange | undefined;
  /**
   * Applies what became of a lease after `acquire`: a renewed, changed or new lease, or `undefined` if the
   * address must not be used any more.
   */
  apply(key: string, lease: HeldLease | undefined, why: string): void;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** For tests. */
  readonly clock?: () => Moment;
}

interface Client {
  readonly subject: Subject;
  state: ClientState;
  exchange?: Exchange | undefined;
  /** The socket is closed then, if no answer came. */
  listensUntil: number;
  /** The client does nothing before. */
  restsUntil: number;
  waiting?: Waiting;
  /** The loss of a lease that could not be applied. It is tried again with each request. */
  unapplied?: Step;
  /** The last note that was logged, and how many more are logged before the next request. */
  lastNote?: string;
  notesLeft: number;
}

interface Waiting {
  readonly deadline: number;
  resolve(lease: HeldLease): void;
  reject(error: PortcullisError): void;
  why: string;
}

/** How long an ADD waits for a lease. Runtimes give an ADD more time. */
export const acquireWithinMs = 15_000;
const listenMs = 10_000;
const mostExchanges = 64;
const restMs = 1000;
/** A server, or somebody who forges its answers, must not fill the log. */
const mostNotes = 4;
/**
 * Timers do not count the time for which the host was suspended, so the end of a lease is looked for this
 * often.
 */
const longestTimerMs = 30_000;

/**
 * Returns the time since the boot, which no change of the clock alters, also not for the next process: leases
 * are recorded with it, and no record outlives the boot. Leases also end while the host is suspended, and the
 * kernel's time since the boot (CLOCK_BOOTTIME) counts that, which `performance.now()` does not.
 */
export const systemClock = (): Moment => ({ now: uptime() * 1000, random: Math.random() });

/** Starts no timer before the first client. */
export function createLeaseKeeper({ open, apply, log, clock = systemClock }: LeaseKeeperDeps): LeaseKeeper {
  const clients = new Map<string, Client>();
  let timer: NodeJS.Timeout | undefined;

  const schedule = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (clients.size === 0) return;
    let next = Infinity;
    for (const client of clients.values()) next = Math.min(next, dueAt(client));
    const delay = Math.max(1, Math.min(next - clock().now, longestTimerMs));
    timer = setTimeout(runDue, delay).unref();
  };

  const { run, advance, fail } = createRunner({ clients, schedule, open, apply, log, clock });

  function runDue(): void {
    for (const [key, client] of clients) {
      try {
        if (dueAt(client) <= clock().now) run(key, client);
      } catch (thrown) {
        client.restsUntil = clock().now + restMs;
        log.warn({ attachment: client.subject.name, why: reasonOf(thrown) }, 'a DHCP client failed');
      }
    }
    schedule();
  }

  const begin = (key: string, subject: Subject, state: ClientState): Client => {
    const former = clients.get(key);
    if (former !== undefined) fail(key, former, 'another request for the attachment replaced it');
    const client: Client = { subject, state, listensUntil: 0, restsUntil: 0, notesLeft: mostNotes };
    clients.set(key, client);
    return client;
  };

  return {
    acquire: (key, subject) =>
      new Promise((resolve, reject) => {
        const moment = clock();
        const step = startClient(subject.identity, moment);
        const client = begin(key, subject, step.state);
        client.waiting = {
          resolve,
          reject,
          deadline: moment.now + acquireWithinMs,
          why: 'no DHCP server answered',
        };
        advance(key, client, step);
        if (clients.get(key) !== client) fail(key, client, 'the interface is gone');
        schedule();
      }),
    cancel(key) {
      const client = clients.get(key);
      if (client?.waiting !== undefined) fail(key, client, 'the request was cancelled');
      schedule();
    },
    resume(key, subject, lease) {
      const moment = clock();
      const state =
        lease === undefined ? startClient(subject.identity, moment).state : resumeClient(lease, moment);
      begin(key, subject, lease === undefined ? { ...state, nextAt: moment.now } : state);
      schedule();
    },
    forget(key) {
      const client = clients.get(key);
      if (client === undefined) return undefined;
      fail(key, client, 'the attachment was removed');
      schedule();
      return 'lease' in client.state ? client.state.lease : undefined;
    },
    close() {
      for (const [key, client] of clients) fail(key, client, 'the daemon stops');
      clearTimeout(timer);
    },
  };
}

/** Returns when the client has something to do, in milliseconds since the boot. */
const dueAt = ({ state, exchange, listensUntil, restsUntil, waiting }: Client): number =>
  Math.min(
    Math.max(state.nextAt, restsUntil),
    exchange === undefined ? Infinity : listensUntil,
    waiting?.deadline ?? Infinity,
  );

/** Returns whether the lease is to be given up, which needs no socket. */
const hasEnded = ({ state }: Client, now: number): boolean => 'lease' in state && now >= endOf(state.lease);

interface RunnerDeps extends Required<LeaseKeeperDeps> {
  readonly clients: Map<string, Client>;
  readonly schedule: () => void;
}

/** The acts of single clients. */
interface Runner {
  /** Does what is due. */
  run(key: string, client: Client): void;
  /** Takes a step of the state machine. */
  advance(key: string, client: Client, step: Step): void;
  /** Forgets the client, and ends an ADD that waits for it. */
  fail(key: string, client: Client, why: string): void;
}

function createRunner({ clients, schedule, open, apply, log, clock }: RunnerDeps): Runner {
  const closeExchange = (client: Client): void => {
    client.exchange?.close();
    client.exchange = undefined;
  };

  const drop = (key: string, client: Client): void => {
    closeExchange(client);
    if (clients.get(key) === client) clients.delete(key);
  };

  const fail = (key: string, client: Client, why: string): void => {
    const { waiting, subject } = client;
    drop(key, client);
    waiting?.reject(noLease(subject.name, why));
  };

  const note = (client: Client, notes: readonly string[]): void => {
    for (const text of notes) {
      if (client.waiting !== undefined) client.waiting.why = text;
      if (client.lastNote === text || client.notesLeft === 0) continue;
      client.lastNote = text;
      client.notesLeft -= 1;
      log.warn({ attachment: client.subject.name, why: text }, 'a DHCP client has a problem');
    }
  };

  const transmit = (key: string, client: Client, sent: readonly Sent[]): void => {
    if (sent.length === 0) return;
    client.listensUntil = clock().now + listenMs;
    client.notesLeft = mostNotes;
    try {
      client.exchange ??= open(key, {
        received: (received) => onMessage(key, client, received),
        ended(why) {
          client.exchange = undefined;
          note(client, [why]);
          schedule();
        },
      });
      if (client.exchange === undefined) return drop(key, client);
      for (const one of sent) client.exchange.send(one);
    } catch (thrown) {
      // The link may be down for a moment. The request is repeated.
      closeExchange(client);
      note(client, [`a request could not be sent: ${reasonOf(thrown)}`]);
    }
  };

  const advance = (key: string, client: Client, step: Step): void => {
    client.state = step.state;
    note(client, step.notes);
    if (step.state.phase === 'bound') closeExchange(client);
    if (step.outcome !== undefined) conclude(key, client, step);
    if (clients.get(key) === client) transmit(key, client, step.send);
  };

  const conclude = (key: string, client: Client, step: Step): void => {
    const { state, outcome, notes } = step;
    const lease = state.phase === 'bound' ? state.lease : undefined;
    const { waiting } = client;
    if (waiting !== undefined && lease !== undefined) {
      delete client.waiting;
      return waiting.resolve(lease);
    }
    if (outcome !== 'lost') delete client.lastNote;
    delete client.unapplied;
    try {
      apply(key, lease, notes.at(-1) ?? '');
    } catch (thrown) {
      if (outcome === 'lost') client.unapplied = step;
      log.warn(
        { attachment: client.subject.name, why: reasonOf(thrown) },
        'a change of a DHCP lease could not be applied; it is tried again with the next request',
      );
    }
  };

  const onMessage = (key: string, client: Client, received: Received): void => {
    if (clients.get(key) !== client) return;
    advance(key, client, receive(client.state, client.subject.identity, received, clock()));
    schedule();
  };

  const run = (key: string, client: Client): void => {
    const moment = clock();
    const { now } = moment;
    if (client.waiting !== undefined && now >= client.waiting.deadline)
      return fail(key, client, `${client.waiting.why} (${acquireWithinMs / 1000} s)`);
    if (client.exchange !== undefined && now >= client.listensUntil) closeExchange(client);
    if (now < Math.max(client.state.nextAt, client.restsUntil)) return;
    if (client.unapplied !== undefined) conclude(key, client, client.unapplied);
    if (clients.get(key) !== client) return;
    const inUse = [...clients.values()].filter(({ exchange }) => exchange !== undefined).length;
    const mustRest = inUse >= mostExchanges && client.exchange === undefined && client.waiting === undefined;
    if (mustRest) client.restsUntil = now + restMs * (1 + moment.random);
    if (mustRest && !hasEnded(client, now)) return;
    const step = tick(client.state, client.subject.identity, moment);
    advance(key, client, mustRest ? { ...step, send: [] } : step);
  };

  return { run, advance, fail };
}

function noLease(name: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_DHCP_NO_LEASE',
    kind: 'unavailable',
    attempted: 'get an address by DHCP for',
    on: name,
    why,
    fix: 'check that a DHCP server answers on the network of the interface, and that no firewall drops UDP ports 67 and 68',
  });
}
