import { podsLeft } from './agent-errors.ts';
import { removeConflist } from '../spanned-network/conflist.ts';
import { bridgeName } from './data-plane/bridge.ts';
import type { DataPlane } from './data-plane/data-plane.ts';
import type { HostKeys } from './data-plane/keys.ts';
import { leaveNetwork } from './ownership/membership.ts';
import type { Member } from './ownership/membership.ts';
import type { Memory } from './memory.ts';
import type { SpannedServices } from './network-services/agent.ts';
import type { ServiceControl } from '../services/index.ts';
import type { OverlaySettings } from './records/settings.ts';
import type { SpreadServices } from './spread-services.ts';

export interface LeavingDeps {
  readonly settings: Pick<OverlaySettings, 'name' | 'confDir' | 'order'>;
  readonly member: Member;
  readonly joined: Pick<SpannedServices, 'leave' | 'forget'>;
  readonly control: Pick<ServiceControl, 'remove'>;
  readonly services: Pick<SpreadServices, 'names'>;
  readonly dataPlane: Pick<DataPlane, 'podsOn' | 'remove'>;
  readonly hostKeys: HostKeys | undefined;
  readonly memory: Memory;
}

/**
 * Removes the state of this host in the overlay: in etcd, in the kernel and on disk.
 * @param stop ends the agent, after all keys of this host are removed from etcd
 * @throws OVERLAY_PODS_LEFT · OVERLAY_ETCD_UNREACHABLE
 */
export async function leaveOverlay(deps: LeavingDeps, stop: () => void): Promise<void> {
  const { settings, member, joined, control, services, dataPlane, hostKeys, memory } = deps;
  const pods = dataPlane.podsOn(bridgeName);
  if (pods > 0) throw podsLeft(bridgeName, pods);
  await joined.leave();
  await leaveNetwork(member);
  stop();
  joined.forget();
  await control.remove('overlay', services.names);
  dataPlane.remove(bridgeName);
  await removeConflist(settings);
  hostKeys?.remove();
  await memory.remove();
}
