import { openNetworkDatabase } from '../../attach/database.ts';
import { watchCommits } from '../../attach/commits.ts';
import { rulesOf } from '../../attach/memberships.ts';
import { ownRealm } from '../../attach/realm.ts';
import { createMemberReader } from '../../services/network-services/members.ts';
import type { Change } from '../etcd/follow.ts';
import type { Member } from '../membership.ts';
import type { Peers } from '../peers.ts';
import type { OverlayNetwork, OverlaySettings } from '../settings.ts';
import { createMerged } from './merged.ts';
import type { MergedService } from './merged.ts';
import { openPublisher } from './publish.ts';
import type { LocalMember } from './publish.ts';
import { openSpannedStore } from './store.ts';
import { createStrangers } from './strangers.ts';
import type { Holders } from './strangers.ts';

/**
 * Services that pods of this network join, over all its hosts: what members here joined goes to etcd, what etcd says of the others goes to the network's
 * database, where whoever balances and names them reads it.
 */
export interface SpannedServices {
  /** Says all anew, under this lease. @throws OVERLAY_ETCD_UNREACHABLE */
  register(lease: number): Promise<void>;
  list(pairs: readonly { readonly key: string; readonly value: Buffer }[]): void;
  change(changes: readonly Change[]): void;
  /** Now and then: what the dead left, and who was held for long enough. */
  tick(): void;
  /** Takes out what this host said. @throws OVERLAY_ETCD_UNREACHABLE */
  leave(): Promise<void>;
  /** Of the others nothing is known any more. */
  forget(): void;
  readonly size: number;
  /** What members here ask for and have not, with the code of why, and what other hosts may not say of their members. */
  readonly refused: readonly string[];
  close(): void;
}

export interface SpannedParts {
  readonly settings: Pick<OverlaySettings, 'databasePath' | 'holdSeconds' | 'name' | 'services'>;
  readonly member: Member;
  readonly networks: readonly OverlayNetwork[];
  /** That the pods of this host have their gateway at. */
  readonly link: string;
  /** Whose subnets are. */
  readonly peers: Pick<Peers, 'holderOf' | 'claimsChanged'>;
  readonly log: { warn(fields: object, message: string): void };
}

/** A commit is written before it is seen. */
const settleMs = 5;

/** @throws NETWORK_NEWER_SCHEMA */
export function openSpannedServices({ settings, member, networks, link, peers, log }: SpannedParts): SpannedServices {
  const database = openNetworkDatabase(settings.databasePath);
  const realm = ownRealm();
  const rules = rulesOf(settings.services ?? {}, settings.name);
  const store = openSpannedStore(database, realm, settings.name, link, rules);
  const readMembers = createMemberReader(database, realm);
  const selectVersion = database.db.prepare('PRAGMA data_version');
  const merged = createMerged(member.host, member.keys, settings.holdSeconds * 1000, store.known);
  const readLocal = (): LocalMember[] => readMembers().filter(({ network }) => network === settings.name);
  const holders: Holders = {
    subnetHolder: (subnet) => peers.holderOf(subnet),
    addressHolder: (address) => merged.addressHolder(address),
    subnetsChanged: () => peers.claimsChanged,
  };
  const strangers = createStrangers(networks, holders, member.host);
  let subnetsChanged = peers.claimsChanged;
  const publisher = openPublisher({ member, networks, merged, readLocal, rules, log });
  let version: unknown;
  let own: ReadonlySet<string> = new Set();
  let settling: NodeJS.Timeout | undefined;
  let expiring: NodeJS.Timeout | undefined;
  let closed = false;

  /** @returns whether another connection wrote anything since */
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
    return service && strangers.without(name, service);
  };
  const write = (): void => {
    const taken = merged.taken();
    // Whose a subnet is says which members and addresses count, of any service.
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
    if (next !== undefined && !closed) expiring = setTimeout(expire, Math.max(next - performance.now(), 0) + 1);
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
        ...[...publisher.refused].flatMap(([service, lines]) => lines.map((line) => `${settings.name}/${service}: ${line}`)),
        ...strangers.found.values(),
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
