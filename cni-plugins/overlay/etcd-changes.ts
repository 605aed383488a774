import type { Changed, Fact } from './ownership/facts.ts';
import type { Follower } from './etcd/follow.ts';
import { holdClock } from './kernel-entries.ts';
import type { KernelEntries } from './kernel-entries.ts';
import type { SpannedServices } from './network-services/agent.ts';
import type { Ownership } from './ownership/ownership.ts';
import type { Peers } from './ownership/peers.ts';
import type { SpreadServices } from './spread-services.ts';

/** Passes each listing and change of etcd to everything that depends on it. */
export interface EtcdChanges extends Pick<Follower, 'onListing' | 'onChanges'> {
  /** Number of changes received since the start. */
  readonly count: number;
}

export interface EtcdChangesDeps {
  readonly view: Ownership;
  readonly peers: Peers;
  readonly entries: Pick<KernelEntries, 'follow' | 'scheduleExpiry'>;
  readonly services: Pick<SpreadServices, 'list' | 'change'>;
  readonly joined: Pick<SpannedServices, 'list' | 'change'>;
  /** Called after each change of the refused keys. */
  readonly logRefused: () => void;
}

export function createEtcdChanges({
  view,
  peers,
  entries,
  services,
  joined,
  logRefused,
}: EtcdChangesDeps): EtcdChanges {
  let count = 0;
  const list = (facts: readonly Fact[]): void => {
    entries.follow(peers.list(facts, holdClock()));
    services.list(facts);
    joined.list(facts);
  };
  const change = (changed: readonly Changed[]): void => {
    entries.follow(peers.change(changed, holdClock()));
    services.change(changed);
    joined.change(changed);
  };
  return {
    onListing({ pairs, revision }) {
      count += pairs.length;
      list(view.list(pairs, revision));
      entries.scheduleExpiry();
      logRefused();
    },
    onChanges(given) {
      count += given.length;
      change(view.change(given, given.at(-1)?.modRevision ?? 0));
      entries.scheduleExpiry();
      logRefused();
    },
    get count() {
      return count;
    },
  };
}
