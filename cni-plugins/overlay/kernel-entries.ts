import { reasonOf } from '../../base/errors/index.ts';
import type { AgentLog } from './agent-log.ts';
import type { DataPlane, Met } from './data-plane/data-plane.ts';
import { entriesOf, keyOf } from './data-plane/entries.ts';
import type { Entry } from './data-plane/entries.ts';
import type { Peers } from './ownership/peers.ts';
import type { ThisHost } from './this-host.ts';
import type { UsedKeys } from './data-plane/used-keys.ts';

/** Keeps the kernel's entries for other hosts in line with the peers. */
export interface KernelEntries {
  /** Compares with the kernel's own lists and corrects the differences. @throws NETWORK_KERNEL_… */
  reconcile(): void;
  /** Updates only the entries of these hosts. */
  follow(hosts: ReadonlySet<string>): void;
  /**
   * Switches to the next key of hosts that made a handshake with it before etcd announced it. @throws
   * NETWORK_KERNEL_…
   */
  followMet(): void;
  /** Drops hosts when their hold time is over. Called when that time may have changed. */
  scheduleExpiry(): void;
  /**
   * Runs a change. If the kernel refuses it, the state is corrected later according to the kernel's own
   * lists.
   * @param failed logged if it throws; default: that the kernel refused a part
   */
  attempt(act: () => void, failed?: string): void;
  /** Number of differences that `reconcile` found. */
  readonly corrected: number;
  close(): void;
}

export interface KernelEntriesDeps {
  readonly thisHost: Pick<ThisHost, 'own'>;
  readonly peers: Peers;
  readonly usedKeys: UsedKeys;
  readonly dataPlane: Pick<DataPlane, 'met' | 'reconcile' | 'change'>;
  readonly isEncrypted: boolean;
  /** Called when hosts changed. */
  readonly onChanged: () => void;
  readonly log: AgentLog;
}

/**
 * Clock for the hold time of hosts and for their keys. It is monotonic, because the machine's clock may be
 * set meanwhile.
 */
export const holdClock = (): number => performance.now();

const refused = 'the kernel refused a part of the overlay; it is tried again';

/** How soon a host that announced a new key is checked again. */
const meetingSoonMs = 100;

export function createKernelEntries(deps: KernelEntriesDeps): KernelEntries {
  const { thisHost, peers, usedKeys, dataPlane, isEncrypted, onChanged, log } = deps;
  /** Whether the link exists, so that entries of one host can be added to it. */
  let exists = false;
  const entriesBy = new Map<string, readonly Entry[]>();
  let corrected = 0;
  let expiring: NodeJS.Timeout | undefined;
  let meeting: NodeJS.Timeout | undefined;
  let closed = false;

  const attempt = (act: () => void, failed = refused): void => {
    try {
      act();
    } catch (thrown) {
      log.warn({ why: thrown instanceof Error ? thrown.message : reasonOf(thrown) }, failed);
    }
  };

  const reconcile = (): void => {
    if (thisHost.own.subnets.length === 0) return;
    const met = dataPlane.met();
    for (const { host } of peers.all()) entriesBy.set(host, entriesFor(deps, host, met));
    const wanted = new Map([...entriesBy.values()].flat().map((entry) => [keyOf(entry), entry]));
    const found = dataPlane.reconcile(thisHost.own, wanted);
    exists = true;
    corrected += found.length;
    if (found.length > 0)
      log.info(
        { found: found.slice(0, 10), count: found.length },
        'the state of the overlay in the kernel was corrected',
      );
  };

  const follow = (hosts: ReadonlySet<string>): void => {
    if (hosts.size === 0) return;
    onChanged();
    scheduleExpiry();
    if (!exists) return;
    const before = new Map<string, Entry>();
    const after = new Map<string, Entry>();
    for (const host of hosts) for (const entry of entriesBy.get(host) ?? []) before.set(keyOf(entry), entry);
    attempt(() => {
      const met = dataPlane.met();
      for (const host of hosts) {
        const entries = entriesFor(deps, host, met);
        if (entries.length === 0) {
          entriesBy.delete(host);
          usedKeys.forget(host);
        } else entriesBy.set(host, entries);
        for (const entry of entries) after.set(keyOf(entry), entry);
      }
      dataPlane.change(before, after);
    });
    meetSoon();
  };

  /** This host switches to an announced new key after a handshake with that key. */
  function meetSoon(): void {
    if (usedKeys.waiting.size === 0 || closed) return;
    meeting ??= setTimeout(() => {
      meeting = undefined;
      follow(usedKeys.waiting);
    }, meetingSoonMs);
  }

  function scheduleExpiry(): void {
    clearTimeout(expiring);
    const next = peers.nextExpiry();
    if (next === undefined || closed) return;
    expiring = setTimeout(
      () => {
        follow(peers.expire(holdClock()));
        // A timer counts from the time at which the event loop woke up, so it may fire before the hold ends.
        scheduleExpiry();
      },
      Math.max(next - holdClock(), 0) + 1,
    );
  }

  return {
    reconcile,
    follow,
    followMet() {
      if (isEncrypted && exists) follow(movedHosts(deps));
    },
    scheduleExpiry,
    attempt,
    get corrected() {
      return corrected;
    },
    close() {
      closed = true;
      for (const timer of [meeting, expiring]) clearTimeout(timer);
    },
  };
}

function entriesFor(
  { peers, thisHost, usedKeys }: KernelEntriesDeps,
  host: string,
  met: ReadonlyMap<string, Met>,
): readonly Entry[] {
  const peer = peers.peer(host);
  if (peer === undefined) return [];
  const { wireguard } = peer.record;
  return entriesOf(peer, thisHost.own, wireguard && usedKeys.keyOf(host, wireguard, met, holdClock()));
}

/** Returns the hosts that use another key than the one that packets to them are encrypted with. */
function movedHosts({ peers, usedKeys, dataPlane }: KernelEntriesDeps): ReadonlySet<string> {
  const met = dataPlane.met();
  const moved = peers.all().filter(({ host, record: { wireguard } }) => {
    const before = usedKeys.current(host);
    return (
      wireguard !== undefined &&
      before !== undefined &&
      usedKeys.keyOf(host, wireguard, met, holdClock()) !== before
    );
  });
  return new Set(moved.map(({ host }) => host));
}
