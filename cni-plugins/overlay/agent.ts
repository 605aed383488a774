import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { hasLeft, notEncrypted, podsLeft } from './agent-errors.ts';
import { bridgeName, removeConflist, writeConflist } from './conflist.ts';
import { openDataPlane } from './data-plane.ts';
import type { Met } from './data-plane.ts';
import { entriesOf, keyOf, unreachableBy } from './entries.ts';
import type { Entry, Own } from './entries.ts';
import { openEtcd } from './etcd/client.ts';
import { ensureGuard } from './guard.ts';
import type { ServiceControl } from '../services/model.ts';
import { openHostKeys } from './keys.ts';
import { followPrefix } from './etcd/follow.ts';
import { holdLease } from './etcd/lease.ts';
import { linkNames, overhead } from './links.ts';
import { agreeOnNetwork, claimSubnets, leaveNetwork, mayWriteForOthers, register, requireName } from './membership.ts';
import { macOf, openMemory } from './memory.ts';
import { openSpannedServices } from './network-services/agent.ts';
import { createOwnership } from './ownership.ts';
import { createPeers } from './peers.ts';
import type { OverlayQuestion, OverlayStatus, PeerStatus } from './protocol.ts';
import { answerQuestion } from './questions.ts';
import { createSpreadServices } from './spread-services.ts';
import { keysOf } from './records.ts';
import type { HostRecord, SharedSettings } from './records.ts';
import { familyOf, prefixText, readSettings } from './settings.ts';
import type { OverlaySettings } from './settings.ts';
import { createUsedKeys } from './used-keys.ts';

export interface AgentLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** This host's side of the network: in etcd, in the kernel, and in the conf folder. */
export interface Agent {
  status(): OverlayStatus;
  /** @throws the errors of `answerQuestion` */
  ask(question: OverlayQuestion): Promise<object>;
  /**
   * Leaves the kernel's state in place and lets the lease end by itself. A host that is back within the lease
   * was never away.
   */
  close(): Promise<void>;
}

type Meetings = ReadonlyMap<string, Met>;

/** Clock for the hold time of hosts. It is monotonic, because the machine's clock may be set meanwhile. */
const now = (): number => performance.now();

const lookEveryMs = 10_000;
const writeAfterMs = 500;
const probeEveryMs = 300_000;
/** Number of refused keys that are shown. */
const mostRefused = 100;
/** How soon a host that met us with its next key is followed: without a word of etcd, and with one. */
const meetingsEveryMs = 2000;
const meetingSoonMs = 100;

/**
 * @throws OVERLAY_SETTINGS_INVALID · OVERLAY_UNDERLAY_MISSING · OVERLAY_WIREGUARD_MISSING · NETWORK_KERNEL_…
 * · STORAGE_…
 */
export async function startAgent(settings: OverlaySettings, control: ServiceControl, log: AgentLog): Promise<Agent> {
  const { networks } = readSettings(settings);
  const shared: SharedSettings = {
    networks: networks.map(({ prefix, hostLength }) => ({ prefix: prefixText(prefix), hostLength })),
    vni: settings.vni,
  };
  const keys = keysOf(settings.name);
  const memory = await openMemory(settings.folder, `${settings.name} ${JSON.stringify(shared)}`);
  const { id } = memory.remembered;
  // Before anything else, and whatever was configured before: unencrypted packets are not sent, even if this
  // host cannot take part.
  if (settings.encryption === 'wireguard') ensureGuard({ networks, subnets: memory.remembered.subnets }, linkNames.wireguard);
  const peers = createPeers(settings.host, keys, settings.holdSeconds * 1000, memory.remembered.peers);
  const hostKeys = settings.encryption === 'wireguard' ? await openHostKeys(settings.folder) : undefined;
  const usedKeys = createUsedKeys();
  const dataPlane = openDataPlane(settings.vni, hostKeys);
  const client = openEtcd(settings.etcd, (problem) => {
    if (problem === '') log.info({}, 'reloaded the certificates for etcd');
    else log.warn({ problem }, 'the certificates for etcd changed and cannot be used: the former ones stay in use');
  });
  const services = createSpreadServices(control, keys, (problem) =>
    log.warn({ problem }, 'a service of the overlay is refused; the others stand'),
  );
  const view = createOwnership(keys);
  const member = { client, keys, host: settings.host, id, view };
  const joined = openSpannedServices({ settings, member, networks, link: bridgeName, peers, log });

  let own: Own = { record: describe(), subnets: memory.remembered.subnets, networks };
  /** The link exists: entries of one host can be added to it. */
  let stands = false;
  const entriesBy = new Map<string, readonly Entry[]>();
  /** Which of the two connections to etcd work: the lease and the watch. */
  const here = { lease: false, watch: false };
  let heard = false;
  let trouble: string | undefined;
  let corrected = 0;
  let changes = 0;
  let writing: NodeJS.Timeout | undefined;
  let expiring: NodeJS.Timeout | undefined;
  let meeting: NodeJS.Timeout | undefined;
  let closed = false;
  let left = false;
  let told: ReadonlySet<string> = new Set();
  /** Whose keys the credentials may write. Undefined until it was probed. */
  let writes: OverlayStatus['writes'];
  let probed = now();

  function describe(): HostRecord {
    const { address, mtu } = dataPlane.underlay(settings.underlay);
    const room = mtu - overhead[hostKeys === undefined ? 'vxlan' : 'wireguard'][familyOf(address)];
    const said = { id, underlay: address, mtu: room };
    if (hostKeys === undefined) return { ...said, vxlan: { mac: macOf(id, settings.name), port: settings.vxlanPort } };
    const { current, next } = hostKeys;
    return { ...said, wireguard: { publicKey: current.publicKey, nextKey: next.publicKey, port: settings.wireguardPort } };
  }

  const remember = (): void => {
    writing ??= setTimeout(() => {
      writing = undefined;
      void memory.write({ ...memory.remembered, id, subnets: own.subnets, peers: peers.all() }).catch((thrown: unknown) => {
        log.warn({ why: reasonOf(thrown) }, 'what is known of other hosts could not be written; it is tried again with the next change');
      });
    }, writeAfterMs);
  };

  const wanted = (): Map<string, Entry> => new Map([...entriesBy.values()].flat().map((entry) => [keyOf(entry), entry]));

  const entriesFor = (host: string, met: Meetings): readonly Entry[] => {
    const peer = peers.peer(host);
    if (peer === undefined) return [];
    const { wireguard } = peer.record;
    return entriesOf(peer, own, wireguard && usedKeys.keyOf(host, wireguard, met, Date.now()));
  };

  /** Compares with the kernel's own lists and corrects the differences. */
  const reconcile = (): void => {
    if (own.subnets.length === 0) return;
    const met = dataPlane.met();
    for (const { host } of peers.all()) entriesBy.set(host, entriesFor(host, met));
    const next = wanted();
    const found = dataPlane.reconcile(own, next);
    stands = true;
    corrected += found.length;
    if (found.length > 0)
      log.info({ found: found.slice(0, 10), count: found.length }, 'the overlay in the kernel was brought to what it is to be');
  };

  /** Updates only the entries of these hosts. */
  const follow = (hosts: ReadonlySet<string>): void => {
    if (hosts.size === 0) return;
    remember();
    scheduleExpiry();
    if (!stands) return;
    const before = new Map<string, Entry>();
    const after = new Map<string, Entry>();
    for (const host of hosts) for (const entry of entriesBy.get(host) ?? []) before.set(keyOf(entry), entry);
    attempt(() => {
      const met = dataPlane.met();
      for (const host of hosts) {
        const entries = entriesFor(host, met);
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

  /** A host that announced a new key is followed once it has met us with that key. */
  function meetSoon(): void {
    if (usedKeys.waiting.size === 0 || closed) return;
    meeting ??= setTimeout(() => {
      meeting = undefined;
      follow(usedKeys.waiting);
    }, meetingSoonMs);
  }

  /** Follows hosts that met us with their next key before etcd announced it. */
  const followMet = (): void => {
    if (hostKeys === undefined || !stands) return;
    const met = dataPlane.met();
    const moved = peers.all().filter(({ host, record: { wireguard } }) => {
      const before = usedKeys.current(host);
      return wireguard !== undefined && before !== undefined && usedKeys.keyOf(host, wireguard, met, Date.now()) !== before;
    });
    follow(new Set(moved.map(({ host }) => host)));
  };

  /** Runs a change. What the kernel refuses is retried from the kernel's own lists. */
  const attempt = (act: () => void): void => {
    try {
      act();
    } catch (thrown) {
      log.warn(
        { why: thrown instanceof Error ? thrown.message : reasonOf(thrown) },
        'the kernel refused a part of the overlay; it is tried again',
      );
    }
  };

  function scheduleExpiry(): void {
    clearTimeout(expiring);
    const next = peers.nextExpiry();
    if (next === undefined || closed) return;
    expiring = setTimeout(() => follow(peers.expire(now())), Math.max(next - now(), 0) + 1);
  }

  /** Logs claims that hosts may not make, each once. */
  const tellRefused = (): void => {
    const refused = new Set(view.refused.keys());
    const fresh = [...refused].filter((key) => !told.has(key));
    told = refused;
    if (fresh.length > 0)
      log.warn(
        { refused: fresh.slice(0, 10).map((key) => `${key}: ${view.refused.get(key) ?? ''}`), count: fresh.length },
        'what other hosts say in etcd is passed over in part; the rest stands',
      );
  };

  /** Logs the result when it differs from the last one: roles may be granted while this host runs. */
  const probeRole = async (): Promise<void> => {
    const found = (await mayWriteForOthers(member)) ? 'every-host' : 'this-host';
    if (found !== writes && found === 'every-host')
      log.warn(
        { endpoints: settings.etcd.endpoints },
        'the credentials of this host may write what other hosts say in etcd: give each host a role of its own (docs/overlay.md)',
      );
    writes = found;
  };

  const away = (what: keyof typeof here, thrown: unknown): void => {
    here[what] = false;
    const why = reasonOf(thrown);
    if (trouble !== why)
      log.warn({ why, ...(isPortcullisError(thrown) && { code: thrown.code }) }, 'etcd is away, or refuses this host; what stands goes on');
    trouble = why;
  };

  const back = (what: keyof typeof here): void => {
    here[what] = true;
    if (!here.lease || !here.watch) return;
    if (!heard || trouble !== undefined) log.info({ subnets: own.subnets, underlay: own.record.underlay }, 'this host is in the overlay');
    heard = true;
    trouble = undefined;
  };

  dataPlane.secure(own);
  if (hostKeys !== undefined && settings.etcd.endpoints.some((endpoint) => endpoint.startsWith('http:')))
    log.warn(
      { endpoints: settings.etcd.endpoints },
      'keys of other hosts come from etcd without TLS: whoever is between can put others in their place',
    );
  // The last known state is applied before etcd is asked, so that the pods of a restarted host reach others
  // at once.
  attempt(reconcile);

  const lease = holdLease({
    client,
    seconds: settings.leaseSeconds,
    async register(held) {
      await agreeOnNetwork(member, shared);
      await requireName(member);
      const subnets = await claimSubnets(member, networks, own.subnets);
      if (subnets.join() !== own.subnets.join()) {
        await memory.write({ ...memory.remembered, subnets, peers: peers.all() });
        own = { ...own, subnets };
        reconcile();
      }
      // This goes before the host itself: services that are not registered again by then have been left.
      await joined.register(held);
      await register(member, own.record, held);
      await writeConflist(settings, subnets, own.record.mtu);
      await probeRole();
    },
    onHeld: () => back('lease'),
    onTrouble: (thrown) => away('lease', thrown),
  });

  const unfollow = followPrefix(client, keys.all, {
    onListing({ pairs, revision }) {
      changes += pairs.length;
      const facts = view.list(pairs, revision);
      follow(peers.list(facts, now()));
      services.list(facts);
      joined.list(facts);
      scheduleExpiry();
      tellRefused();
    },
    onChanges(given) {
      changes += given.length;
      const changed = view.change(given, given.at(-1)?.modRevision ?? 0);
      follow(peers.change(changed, now()));
      services.change(changed);
      joined.change(changed);
      scheduleExpiry();
      tellRefused();
    },
    onHere: () => back('watch'),
    onAway: (thrown) => away('watch', thrown),
  });

  const looking = setInterval(() => {
    attempt(() => {
      const record = describe();
      if (JSON.stringify(record) !== JSON.stringify(own.record)) {
        own = { ...own, record };
        lease.renew();
      }
      reconcile();
    });
    joined.tick();
    if (here.lease && now() - probed > probeEveryMs) {
      probed = now();
      void probeRole().catch(() => undefined);
    }
  }, lookEveryMs);

  const meetings = setInterval(() => attempt(followMet), meetingsEveryMs);

  const statusOf = (host: string, isHeld: boolean, met: Meetings): PeerStatus[] => {
    const peer = peers.peer(host);
    if (peer === undefined) return [];
    const unreachable = unreachableBy(own.record, peer.record);
    const tunnel = tunnelOf(met.get(usedKeys.current(host) ?? ''));
    return [
      {
        host,
        underlay: peer.record.underlay,
        subnets: peer.subnets,
        held: isHeld,
        ...(unreachable !== undefined && { unreachable }),
        ...(unreachable === undefined && tunnel !== undefined && { tunnel }),
      },
    ];
  };

  const status = (): OverlayStatus => {
    const met = dataPlane.met();
    return {
      name: settings.name,
      host: settings.host,
      state: here.lease && here.watch ? 'connected' : heard ? 'away' : 'joining',
      ...(trouble === undefined ? {} : { trouble }),
      underlay: own.record.underlay,
      subnets: own.subnets,
      mtu: own.record.mtu,
      encryption: settings.encryption,
      ...(hostKeys !== undefined && { publicKey: hostKeys.current.publicKey }),
      peers: peers.all().flatMap(({ host, held: isHeld }) => statusOf(host, isHeld, met)),
      corrected,
      changes,
      services: services.size,
      networkServices: joined.size,
      ...(writes !== undefined && { writes }),
      refused: [...[...view.refused].slice(0, mostRefused).map(([key, why]) => `${key}: ${why}`), ...services.refused, ...joined.refused],
    };
  };

  const stop = (): void => {
    closed = true;
    clearInterval(looking);
    clearInterval(meetings);
    for (const timer of [meeting, writing, expiring]) clearTimeout(timer);
    lease.close();
    unfollow();
  };

  const leave = async (): Promise<object> => {
    const pods = dataPlane.podsOn(bridgeName);
    if (pods > 0) throw podsLeft(bridgeName, pods);
    await joined.leave();
    await leaveNetwork(member);
    stop();
    joined.forget();
    await control.remove('overlay', services.names);
    dataPlane.remove(bridgeName);
    removeConflist(settings);
    hostKeys?.remove();
    await memory.remove();
    left = true;
    return { left: settings.name };
  };

  const rotateKey = async (): Promise<object> => {
    if (hostKeys === undefined) throw notEncrypted();
    await hostKeys.rotate();
    own = { ...own, record: describe() };
    dataPlane.secure(own);
    lease.renew();
    return { publicKey: hostKeys.current.publicKey };
  };

  return {
    status,
    ask: (question) =>
      left
        ? Promise.reject(hasLeft())
        : answerQuestion(question, { status, rotateKey, leave, client, keys, host: settings.host, standing: services.standing }),
    async close() {
      stop();
      joined.close();
      client.close();
      await services.close();
      if (!left) await memory.write({ ...memory.remembered, id, subnets: own.subnets, peers: peers.all() });
      dataPlane.close();
    },
  };
}

function tunnelOf(met: Met | undefined): PeerStatus['tunnel'] {
  if (met === undefined) return undefined;
  const { handshakeMs, receivedBytes, sentBytes } = met;
  return { ...(handshakeMs > 0 && { lastHandshake: new Date(handshakeMs).toISOString() }), receivedBytes, sentBytes };
}
