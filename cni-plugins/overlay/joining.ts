import { writeConflist } from '../spanned-network/conflist.ts';
import { bridgeName } from './data-plane/bridge.ts';
import type { HostKeys } from './data-plane/keys.ts';
import type { KernelEntries } from './kernel-entries.ts';
import { agreeOnNetwork, register, requireName } from './ownership/membership.ts';
import { claimSubnets } from './ownership/claim-subnets.ts';
import type { Member } from './ownership/membership.ts';
import type { SpannedServices } from './network-services/agent.ts';
import type { SharedSettings } from './records/records.ts';
import type { RoleProbe } from './role-probe.ts';
import type { SavedState } from './saved-state.ts';
import type { OverlayNetwork, OverlaySettings } from './records/settings.ts';
import type { ThisHost } from './this-host.ts';

export interface JoiningDeps {
  readonly settings: Pick<OverlaySettings, 'name' | 'confDir' | 'order' | 'services'>;
  readonly shared: SharedSettings;
  readonly networks: readonly OverlayNetwork[];
  readonly member: Member;
  readonly thisHost: ThisHost;
  readonly hostKeys: Pick<HostKeys, 'announced'> | undefined;
  readonly saved: Pick<SavedState, 'save'>;
  readonly entries: Pick<KernelEntries, 'reconcile'>;
  readonly joined: Pick<SpannedServices, 'register'>;
  readonly roleProbe: Pick<RoleProbe, 'probe'>;
}

/**
 * Makes this host a member of the overlay under the lease: with subnets, services, its record, and the
 * conflist for its pods.
 * @throws the errors of `agreeOnNetwork`, `requireName`, `claimSubnets` and `register` · NETWORK_KERNEL_… ·
 * STORAGE_…
 */
export async function joinOverlay(deps: JoiningDeps, lease: number): Promise<void> {
  const { settings, shared, networks, member, thisHost, hostKeys, saved, entries, joined, roleProbe } = deps;
  await agreeOnNetwork(member, shared);
  await requireName(member);
  const subnets = await claimSubnets(member, networks, thisHost.own.subnets);
  if (subnets.join() !== thisHost.own.subnets.join()) {
    await saved.save(subnets);
    thisHost.takeSubnets(subnets);
    entries.reconcile();
  }
  // The services are written before the host's own record: other hosts treat services that are not registered
  // by then as left.
  await joined.register(lease);
  const { record } = thisHost.own;
  await register(member, record, lease);
  if (record.wireguard !== undefined) await hostKeys?.announced(record.wireguard.nextKey);
  await writeConflist({ ...settings, bridge: bridgeName }, subnets, thisHost.own.record.mtu);
  await roleProbe.probe();
}
