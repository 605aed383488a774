import { setTimeout as sleep } from 'node:timers/promises';
import { createRefusalLog } from './agent-log.ts';
import type { AgentLog } from './agent-log.ts';
import { hasLeft, notEncrypted } from './agent-errors.ts';
import { overlayStatus } from './agent-status.ts';
import { bridgeName } from './data-plane/bridge.ts';
import { openDataPlane } from './data-plane/data-plane.ts';
import type { DataPlane } from './data-plane/data-plane.ts';
import { openEtcd } from './etcd/client.ts';
import type { EtcdClient } from './etcd/client.ts';
import { createEtcdChanges } from './etcd-changes.ts';
import { createEtcdPresence } from './etcd-presence.ts';
import { ensureGuard } from './data-plane/guard.ts';
import type { ServiceControl } from '../services/index.ts';
import { joinOverlay } from './joining.ts';
import { createKernelEntries } from './kernel-entries.ts';
import { openHostKeys } from './data-plane/keys.ts';
import type { HostKeys } from './data-plane/keys.ts';
import { followPrefix } from './etcd/follow.ts';
import { holdLease } from './etcd/lease.ts';
import { leaveOverlay } from './leaving.ts';
import { linkNames } from './data-plane/links.ts';
import { openMemory } from './memory.ts';
import { openSpannedServices } from './network-services/agent.ts';
import { createOwnership } from './ownership/ownership.ts';
import { createPeers } from './ownership/peers.ts';
import type { OverlayQuestion, OverlayStatus } from './protocol.ts';
import { answerQuestion } from './questions.ts';
import { createRoleProbe } from './role-probe.ts';
import { createSavedState } from './saved-state.ts';
import { createSpreadServices } from './spread-services.ts';
import { keysOf } from './records/records.ts';
import type { SharedSettings } from './records/records.ts';
import { prefixText, readSettings } from './records/settings.ts';
import type { OverlayNetwork, OverlaySettings } from './records/settings.ts';
import { createThisHost } from './this-host.ts';
import type { ThisHost } from './this-host.ts';
import { createUsedKeys } from './data-plane/used-keys.ts';

/** This host's side of the network: in etcd, in the kernel, and in the conf folder. */
export interface Agent {
  status(): OverlayStatus;
  /** @throws the errors of `answerQuestion` */
  ask(question: OverlayQuestion): Promise<object>;
  /**
   * Leaves the kernel's state in place and lets the lease expire. If the host is back before the lease
   * expires, other hosts notice nothing.
   */
  close(): Promise<void>;
}

/** As much as one host may have. */
const largeListing = 32 * 1024 * 1024;
const lookEveryMs = 10_000;
/** How soon this host switches to the next key of a host after a handshake with that key, without etcd. */
const meetingsEveryMs = 2000;

/**
 * @throws OVERLAY_SETTINGS_INVALID · OVERLAY_UNDERLAY_MISSING · NETWORK_MTU_TOO_SMALL ·
 * OVERLAY_WIREGUARD_MISSING · NETWORK_KERNEL_… · STORAGE_…
 */
export async function startAgent(
  settings: OverlaySettings,
  control: ServiceControl,
  log: AgentLog,
): Promise<Agent> {
  const parts = await openParts(settings, control, log);
  const { networks, shared, keys, memory, hostKeys, dataPlane, client, services, member, joined } = parts;
  const { thisHost, saved, entries, roleProbe, presence, heard } = parts;
  let left = false;

  dataPlane.secure(thisHost.own);
  if (hostKeys !== undefined) warnOfPlainEtcd(settings, log);
  // The last known state is applied before etcd is asked, so that the pods of a restarted host reach others
  // at once.
  entries.attempt(entries.reconcile);

  const joining = {
    settings,
    shared,
    networks,
    member,
    thisHost,
    hostKeys,
    saved,
    entries,
    joined,
    roleProbe,
  };
  const lease = holdLease({
    client,
    seconds: settings.leaseSeconds,
    register: (held) => joinOverlay(joining, held),
    onHeld: () => presence.back('lease'),
    onTrouble: (thrown) => presence.away('lease', thrown),
  });
  // Keys of this host may be lost although its lease is not: etcd was rolled back, or somebody deleted them.
  const { record } = keys.own(settings.host);
  let wasListed = false;
  let leaving = false;
  const unfollow = followPrefix(client, keys.all, {
    bound: { bytes: largeListing, keep: parts.view.within },
    onListing(listing) {
      heard.onListing(listing);
      if (wasListed) lease.renew();
      wasListed = true;
    },
    onChanges(changes) {
      heard.onChanges(changes);
      if (!leaving && changes.some(({ key, value }) => key === record && value === undefined)) lease.renew();
    },
    onHere: () => presence.back('watch'),
    onAway: (thrown) => presence.away('watch', thrown),
  });
  const looking = setInterval(() => {
    entries.attempt(() => {
      if (thisHost.describe()) lease.renew();
    }, 'this host cannot use its underlay; its last record stays in force');
    // Also if the underlay cannot be used: the last record and the rules stay in force.
    entries.attempt(entries.reconcile);
    joined.tick();
    if (presence.works('lease')) roleProbe.tick();
  }, lookEveryMs);
  const meetings = setInterval(() => entries.attempt(entries.followMet), meetingsEveryMs);

  const status = (): OverlayStatus => overlayStatus({ settings, ...parts }, heard.count);
  const stop = (): void => {
    clearInterval(looking);
    clearInterval(meetings);
    entries.close();
    saved.close();
    lease.close();
    unfollow();
  };
  const leave = async (): Promise<object> => {
    leaving = true;
    try {
      await leaveOverlay({ settings, member, joined, control, services, dataPlane, hostKeys, memory }, stop);
    } finally {
      leaving = false;
    }
    left = true;
    return { left: settings.name };
  };
  const rotateKey = async (): Promise<object> => {
    const publicKey = await rotateHostKey(hostKeys, thisHost, dataPlane);
    lease.renew();
    return { publicKey };
  };

  return {
    status,
    ask: (question) =>
      left
        ? Promise.reject(hasLeft())
        : answerQuestion(question, {
            status,
            rotateKey,
            leave,
            client,
            keys,
            host: settings.host,
            standing: services.standing,
          }),
    async close() {
      stop();
      joined.close();
      client.close();
      await services.close();
      if (!left) await saved.save();
      dataPlane.close();
    },
  };
}

/** Opens this host's knowledge of the network, and its access to the kernel. Starts nothing. */
async function openParts(settings: OverlaySettings, control: ServiceControl, log: AgentLog) {
  const { networks } = readSettings(settings);
  const shared = sharedSettings(settings, networks);
  const keys = keysOf(settings.name);
  const memory = await openMemory(settings.folder, `${settings.name} ${JSON.stringify(shared)}`);
  const { id, subnets } = memory.remembered;
  // Before anything else, and whatever was configured before: unencrypted packets are not sent, even if this
  // host cannot take part.
  if (settings.encryption === 'wireguard') ensureGuard({ networks, subnets }, linkNames.wireguard);
  const peers = createPeers(settings.host, keys, settings.holdSeconds * 1000, memory.remembered.peers);
  const hostKeys = settings.encryption === 'wireguard' ? await openHostKeys(settings.folder) : undefined;
  const usedKeys = createUsedKeys();
  const dataPlane = openDataPlane(settings.vni, hostKeys);
  const client = openClient(settings, log);
  const services = createSpreadServices(control, keys, (problem) =>
    log.warn({ problem }, 'a service of the overlay is refused; the others apply'),
  );
  const view = createOwnership(keys);
  const member = { client, keys, host: settings.host, id, view };
  const joined = openSpannedServices({ settings, member, networks, link: bridgeName, peers, log });
  const thisHost = createThisHost({ settings, id, networks, dataPlane, hostKeys }, subnets);
  const saved = createSavedState({ memory, thisHost, peers, log });
  const isEncrypted = hostKeys !== undefined;
  const entries = createKernelEntries({
    thisHost,
    peers,
    usedKeys,
    dataPlane,
    isEncrypted,
    onChanged: saved.saveSoon,
    log,
  });
  const roleProbe = createRoleProbe(member, settings.etcd.endpoints, log);
  const presence = createEtcdPresence(thisHost, log);
  const heard = createEtcdChanges({
    view,
    peers,
    entries,
    services,
    joined,
    logRefused: createRefusalLog(view, log),
  });
  return {
    ...{
      networks,
      shared,
      keys,
      memory,
      peers,
      hostKeys,
      usedKeys,
      dataPlane,
      client,
      services,
      view,
      member,
    },
    ...{ joined, thisHost, saved, entries, roleProbe, presence, heard },
  };
}

const sharedSettings = ({ vni }: OverlaySettings, networks: readonly OverlayNetwork[]): SharedSettings => ({
  networks: networks.map(({ prefix, hostLength }) => ({ prefix: prefixText(prefix), hostLength })),
  vni,
});

const openClient = ({ etcd }: OverlaySettings, log: AgentLog): EtcdClient =>
  openEtcd(etcd, (problem) => {
    if (problem === '') log.info({}, 'reloaded the certificates for etcd');
    else
      log.warn(
        { problem },
        'the certificates for etcd changed and cannot be used: the previous ones stay in use',
      );
  });

function warnOfPlainEtcd({ etcd: { endpoints } }: OverlaySettings, log: AgentLog): void {
  if (endpoints.some((endpoint) => endpoint.startsWith('http:')))
    log.warn(
      { endpoints },
      'keys of other hosts come from etcd without TLS: an attacker between this host and etcd can replace them',
    );
}

/** How long a change of the key waits until etcd has the key of the change before it. */
const announcedWithinMs = 5000;
const announcedEveryMs = 50;

/**
 * Makes the next key of this host its current key, on disk and in the kernel.
 * @returns it
 * @throws OVERLAY_NOT_ENCRYPTED · OVERLAY_KEY_NOT_ANNOUNCED · STORAGE_… · NETWORK_KERNEL_…
 */
async function rotateHostKey(
  hostKeys: HostKeys | undefined,
  thisHost: ThisHost,
  dataPlane: DataPlane,
): Promise<string> {
  if (hostKeys === undefined) throw notEncrypted();
  const deadline = performance.now() + announcedWithinMs;
  while (!hostKeys.isNextAnnounced && performance.now() < deadline) await sleep(announcedEveryMs);
  await hostKeys.rotate();
  thisHost.describe();
  dataPlane.secure(thisHost.own);
  return hostKeys.current.publicKey;
}
