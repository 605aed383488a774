import { openNetworkDatabase } from '../../database/database.ts';
import { watchCommits } from '../../database/commits.ts';
import { rulesOf } from '../../database/memberships.ts';
import { ownNamespaceId } from '../../namespaces/namespace-id.ts';
import { createMemberReader } from '../../services/index.ts';
import type { Change } from '../etcd/follow.ts';
import type { Member } from '../ownership/membership.ts';
import type { Peers } from '../ownership/peers.ts';
import type { OverlayNetwork, OverlaySettings } from '../records/settings.ts';
import type { LocalMember } from './fitting-members.ts';
import { createMerged } from './merged.ts';
import type { MergedService } from './merged.ts';
import { openPublisher } from './publish.ts';
import { openSpannedStore } from './store.ts';
import { createClaimFilter } from './claim-filter.ts';
import type { Holders } from './claim-filter.ts';

/**
 * Services that pods of this network join, across all its hosts. Memberships on this host are written to
 * etcd. Memberships on other hosts are written from etcd to the network's database, where the load balancer
 * and DNS read them.
 */
export interface SpannedServices {
  /** Writes everything again under this lease. @throws OVERLAY_ETCD_UNREACHABLE */
  register(lease: number): Promise<void>;
  list(pairs: readonly { readonly key: string; readonly value: Buffer }[]): void;
  change(changes: readonly Change[]): void;
  /** Called periodically: cleans up after dead members, and drops those that were held for the hold time. */
  tick(): void;
  /** Removes everything that this host wrote. @throws OVERLAY_ETCD_UNREACHABLE */
  leave(): Promise<void>;
  /** Forgets the members of other hosts. */
  forget(): void;
  readonly size: number;
  /**
   * Refused requests of members here, with their codes, and claims of other hosts about their members that
   * are refused.
   */
  readonly refused: readonly string[];
  close(): void;
}

export interface SpannedDeps {
  readonly settings: Pick<OverlaySettings, 'databasePath' | 'holdSeconds' | 'name' | 'services'>;
  readonly member: Member;
  readonly networks: readonly OverlayNetwork[];
  /** The link with the gateway of this host's pods. */
  readonly link: string;
  /** The holders of subnets. */
  readonly peers: Pick<Peers, 'holderOf' | 'claimsChanged'>;
  readonly log: { warn(fields: object, message: string): void };
}

/** Delay after which a commit is visible. */
const settleMs = 5;

/** @throws NETWORK_NEWER_SCHEMA */
export function openSpannedServices({
  settings,
  member,
  networks,
  link,
  peers,
  log,
}: SpannedDeps): SpannedServices {
  const database = openNetworkDatabase(settings.databasePath);
  const namespaceId = ownNamespaceId();
  const rules = rulesOf(settings.services ?? {}, settings.name);
  const store = openSpannedStore(database, namespaceId, settings.name, link, rules);
  const readMembers = createMemberReader(database, namespaceId);
  const selectVersion = database.db.prepare('PRAGMA data_version');
  const merged = createMerged(member.host, member.keys, settings.holdSeconds * 1000, store.known);
  const readLocal = (): LocalMember[] => readMembers().filter(({ network }) => network === settings.name);
  const holders: Holders = {
    subnetHolder: (subnet) => peers.holderOf(subnet),
    addressHolder: (address) => merged.addressHolder(address),
    subnetsChanged: () => peers.claimsChanged,
  };
  const claimFilter = createClaimFilter(networks, holders, member.host);
  let subnetsChanged = peers.claimsChanged;
  const publisher = openPublisher({ member, networks, merged, readLocal, rules, log });
  let version: unknown;
  let own: ReadonlySet<string> = new Set();
  let settling: NodeJS.Timeout | undefined;
  let expiring: NodeJS.Timeout | undefined;
  let closed = false;

  /** @returns whether another connection wrote since the last call */
  const readOwn = (): boolean => {
    const { data_version: now } = selectVersion.get() as { data_version: unknown };
    if (now === version) return false;
    version = now;
    own = new Set(readLocal().map(({ service }) => service));
    return true;
  };
  readOwn();

  const seen = (name: string): MergedService | undefined => {
    const service = merged.service(name);
    return service && claimFilter.without(name, service);
  };
  const write = (): void => {
    const taken = merged.taken();
    // The holder of a subnet decides which members and addresses of any service count.
    const touched = peers.claimsChanged === subnetsChanged ? taken : new Set([...taken, ...merged.names()]);
    subnetsChanged = peers.claimsChanged;
    if (touched.size === 0) return;
    store.put(new Map([...touched].map((name) => [name, seen(name)])));
    const concerned = new Set([...touched].filter((name) => own.has(name)));
    if (concerned.size > 0) publisher.look(concerned);
  };
  const expire = (): void => {
    merged.expire(performance.now(), own);
    write();
    clearTimeout(expiring);
    const next = merged.nextExpiry();
    if (next !== undefined && !closed)
      expiring = setTimeout(expire, Math.max(next - performance.now(), 0) + 1);
  };

  const unwatch = watchCommits(settings.databasePath, () => {
    settling ??= setTimeout(() => {
      settling = undefined;
      if (!closed && readOwn()) publisher.look();
    }, settleMs);
  });

  return {
    register: (lease) => publisher.register(lease),
    list(pairs) {
      merged.list(pairs, performance.now(), own);
      expire();
    },
    change(changes) {
      merged.change(changes, performance.now());
      expire();
    },
    tick() {
      expire();
      publisher.sweep();
    },
    leave: () => publisher.leave(),
    forget: () => store.forget(),
    get size() {
      return merged.names().length;
    },
    get refused() {
      return [
        ...[...publisher.refused].flatMap(([service, lines]) =>
          lines.map((line) => `${settings.name}/${service}: ${line}`),
        ),
        ...claimFilter.found.values(),
      ];
    },
    close() {
      closed = true;
      unwatch();
      clearTimeout(settling);
      clearTimeout(expiring);
      publisher.close();
      database.close();
    },
  };
}
