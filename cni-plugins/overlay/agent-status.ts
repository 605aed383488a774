import type { DataPlane, Met } from './data-plane/data-plane.ts';
import { unreachableBy } from './data-plane/entries.ts';
import type { EtcdPresence } from './etcd-presence.ts';
import type { KernelEntries } from './kernel-entries.ts';
import type { HostKeys } from './data-plane/keys.ts';
import type { SpannedServices } from './network-services/agent.ts';
import type { Ownership } from './ownership/ownership.ts';
import type { Peers } from './ownership/peers.ts';
import type { OverlayStatus, PeerStatus } from './protocol.ts';
import type { RoleProbe } from './role-probe.ts';
import type { OverlaySettings } from './records/settings.ts';
import type { SpreadServices } from './spread-services.ts';
import type { ThisHost } from './this-host.ts';
import type { UsedKeys } from './data-plane/used-keys.ts';

/** Where the status of this host comes from. */
export interface StatusDeps {
  readonly settings: Pick<OverlaySettings, 'name' | 'host' | 'encryption'>;
  readonly hostKeys: HostKeys | undefined;
  readonly thisHost: Pick<ThisHost, 'own'>;
  readonly peers: Pick<Peers, 'all' | 'peer'>;
  readonly usedKeys: Pick<UsedKeys, 'current'>;
  readonly dataPlane: Pick<DataPlane, 'met'>;
  readonly entries: Pick<KernelEntries, 'corrected'>;
  readonly presence: Pick<EtcdPresence, 'state' | 'trouble'>;
  readonly roleProbe: Pick<RoleProbe, 'writes'>;
  readonly view: Pick<Ownership, 'refused'>;
  readonly services: Pick<SpreadServices, 'size' | 'refused'>;
  readonly joined: Pick<SpannedServices, 'size' | 'refused'>;
}

/** Number of refused keys that are shown. */
const mostRefused = 100;

/** @param changes received from etcd since the start */
export function overlayStatus(deps: StatusDeps, changes: number): OverlayStatus {
  const { settings, hostKeys, thisHost, peers, dataPlane, entries } = deps;
  const { presence, roleProbe, view, services, joined } = deps;
  const { own } = thisHost;
  const met = dataPlane.met();
  return {
    name: settings.name,
    host: settings.host,
    state: presence.state,
    ...(presence.trouble === undefined ? {} : { trouble: presence.trouble }),
    underlay: own.record.underlay,
    subnets: own.subnets,
    mtu: own.record.mtu,
    encryption: settings.encryption,
    ...(hostKeys !== undefined && { publicKey: hostKeys.current.publicKey }),
    peers: peers.all().flatMap(({ host, held: isHeld }) => statusOf(deps, host, isHeld, met)),
    corrected: entries.corrected,
    changes,
    services: services.size,
    networkServices: joined.size,
    ...(roleProbe.writes !== undefined && { writes: roleProbe.writes }),
    refused: [
      ...[...view.refused].slice(0, mostRefused).map(([key, why]) => `${key}: ${why}`),
      ...services.refused,
      ...joined.refused,
    ],
  };
}

function statusOf(
  { thisHost, peers, usedKeys }: StatusDeps,
  host: string,
  isHeld: boolean,
  met: ReadonlyMap<string, Met>,
): PeerStatus[] {
  const peer = peers.peer(host);
  if (peer === undefined) return [];
  const unreachable = unreachableBy(thisHost.own.record, peer.record);
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
}

function tunnelOf(met: Met | undefined): PeerStatus['tunnel'] {
  if (met === undefined) return undefined;
  const { handshakeMs, receivedBytes, sentBytes } = met;
  return {
    ...(handshakeMs > 0 && { lastHandshake: new Date(handshakeMs).toISOString() }),
    receivedBytes,
    sentBytes,
  };
}
