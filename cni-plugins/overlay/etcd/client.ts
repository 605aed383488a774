import { randomInt } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { callEtcd } from './calls.ts';
import type { MemberAccess } from './calls.ts';
import { connectionsAt } from './connections.ts';
import { openCredentials } from './credentials.ts';
import type { CredentialSource, Credentials } from './credentials.ts';
import { tooLarge, unreachable } from './failures.ts';
import { createMembers } from './members.ts';
import { endOf, rpcs, streams } from './messages.ts';
import type { Comparison, KeyValue, RawKeyValue, Step, WatchAnswer, WatchAsk } from './messages.ts';
import { openStream } from './stream.ts';
import type { Stream } from './stream-contract.ts';

/** Endpoints of etcd and the credentials for it: PEM texts, or files that are read again when they change. */
export interface EtcdAccess extends Credentials {
  /** `https://192.0.2.10:2379`. */
  readonly endpoints: readonly string[];
  /** Paths of files that replace the texts of the same names. */
  readonly files?: Credentials;
}

export interface Listing {
  readonly revision: number;
  /** Distinguishes two clusters, and a cluster from its restored copy. */
  readonly cluster: number;
  readonly pairs: readonly KeyValue[];
}

interface ListOptions {
  readonly keysOnly?: boolean;
  readonly bound?: ListingBound | undefined;
}

/** Limits what is kept of a listing while it is read. */
export interface ListingBound {
  /** `keep` is called when so many bytes were read, and each time they double. */
  readonly bytes: number;
  /** Returns what is kept of the pairs that were read so far. */
  keep(pairs: readonly KeyValue[]): readonly KeyValue[];
}

/** The outcome of a transaction. */
export interface Outcome {
  /** Whether the comparisons were true and the steps were applied. */
  readonly succeeded: boolean;
  /** Revision of etcd afterwards. */
  readonly revision: number;
}

/**
 * A client of etcd's API v3 that asks one member at a time. A call has a deadline. The client leaves a member
 * that misses it, or has no leader, for the next one. A call whose answer was lost is repeated: a transaction
 * that fails by its own comparison may have been applied by the first attempt.
 */
export interface EtcdClient {
  /**
   * Lists all keys with this prefix, of one revision.
   * With `keysOnly`, the values are left out. `bound` limits what is kept.
   * @throws OVERLAY_ETCD_UNREACHABLE · OVERLAY_ETCD_DENIED, as each of these
   */
  list(prefix: string, options?: ListOptions): Promise<Listing>;
  get(key: string): Promise<KeyValue | undefined>;
  /**
   * Returns the revision that etcd has agreed on by now, and its cluster.
   * @param key any key that may be read
   */
  agreed(key: string): Promise<{ readonly revision: number; readonly cluster: number }>;
  /** Returns whether the comparisons were true and the steps were applied. */
  transact(compare: readonly Comparison[], steps: readonly Step[]): Promise<boolean>;
  commit(compare: readonly Comparison[], steps: readonly Step[]): Promise<Outcome>;
  /** Grants a new lease of that many seconds. @returns its id */
  grant(seconds: number): Promise<number>;
  keepAlive(): Stream<{ readonly id: number }, { readonly id: number; readonly ttl: number }>;
  /** Watches from that revision on. */
  watch(prefix: string, startRevision: number): Stream<WatchAsk, WatchAnswer>;
  close(): void;
}

const pageSize = 1000;
const idRange = 2 ** 47;

/**
 * Opens a client of etcd. Nothing is requested yet.
 * @param report called with the problem of credentials whose files changed and cannot be used; with '' when
 * they can
 * @throws OVERLAY_ETCD_UNREACHABLE when certificates or key are invalid
 */
export function openEtcd(access: EtcdAccess, report?: (problem: string) => void): EtcdClient {
  const credentials = openOrThrow(access, report);
  const all = access.endpoints.map((endpoint) => connectionsAt(endpoint, credentials));
  let closed = false;
  // A member without a leader would return stale data for as long as it is cut off.
  const metadata = new Metadata();
  metadata.set('hasleader', 'true');
  const memberAccess: MemberAccess = {
    members: createMembers(all),
    metadata,
    leave(member) {
      memberAccess.members.failed(member);
      // The member may no longer accept our certificate.
      credentials.check();
    },
    isClosed: () => closed,
  };

  const page = async (key: Buffer, prefix: string, limit: number, revision: number, keysOnly: boolean) => {
    for (let most = limit; ; most = Math.ceil(most / 8)) {
      try {
        return {
          most,
          ...(await callEtcd(memberAccess, rpcs.range, {
            key,
            rangeEnd: endOf(prefix),
            limit: most,
            revision,
            keysOnly,
          })),
        };
      } catch (thrown) {
        // Values may be so large that fewer of them fit into one answer.
        if (most === 1 || !(thrown instanceof PortcullisError) || !tooLarge.test(thrown.failure.why))
          throw thrown;
      }
    }
  };

  const commit: EtcdClient['commit'] = async (compare, success) => {
    const { header, succeeded } = await callEtcd(memberAccess, rpcs.transact, {
      compare,
      success,
      failure: [],
    });
    return { succeeded, revision: header.revision };
  };

  return {
    async list(prefix, { keysOnly = false, bound } = {}) {
      let pairs: KeyValue[] = [];
      let revision = 0;
      let [bytes, next] = [0, bound?.bytes ?? Infinity];
      let limit = pageSize;
      for (let from = Buffer.from(prefix); ;) {
        const { header, kvs, more, most } = await page(from, prefix, limit, revision, keysOnly);
        limit = Math.min(most * 2, pageSize);
        for (const pair of kvs) pairs.push(withText(pair));
        bytes += bytesOf(kvs);
        if (bound !== undefined && bytes > next) {
          pairs = [...bound.keep(pairs)];
          bytes = bytesOf(pairs);
          next = Math.max(bound.bytes, bytes * 2);
        }
        if (revision === 0) ({ revision } = header);
        const last = kvs.at(-1);
        if (!more || last === undefined) return { revision, cluster: header.clusterId, pairs };
        from = Buffer.concat([last.key, Buffer.of(0)]);
      }
    },
    async get(key) {
      const [found] = (await callEtcd(memberAccess, rpcs.range, { key: Buffer.from(key) })).kvs;
      return found && withText(found);
    },
    async agreed(key) {
      const ask = { key: Buffer.from(key), keysOnly: true, limit: 1 };
      const { header } = await callEtcd(memberAccess, rpcs.range, ask);
      return { revision: header.revision, cluster: header.clusterId };
    },
    transact: async (compare, steps) => (await commit(compare, steps)).succeeded,
    commit,
    grant: async (seconds) =>
      (await callEtcd(memberAccess, rpcs.grant, { ttl: seconds, id: randomInt(1, idRange) })).id,
    keepAlive: () => openStream(memberAccess, streams.keepAlive),
    watch(prefix, startRevision) {
      const opened = openStream(memberAccess, streams.watch);
      opened.write({
        create: { key: prefix, rangeEnd: endOf(prefix), startRevision, progressNotify: true, fragment: true },
      });
      return opened;
    },
    close() {
      closed = true;
      credentials.close();
      for (const member of all) member.close();
    },
  };
}

const bytesOf = (pairs: readonly Pick<RawKeyValue | KeyValue, 'key' | 'value'>[]): number =>
  pairs.reduce((sum, { key, value }) => sum + key.length + value.length, 0);

/** Returns the key as text. One that is not UTF-8 has replacement characters: no such key is ours. */
const withText = ({ key, ...rest }: RawKeyValue): KeyValue => ({ key: key.toString(), ...rest });

function openOrThrow(access: EtcdAccess, report: ((problem: string) => void) | undefined): CredentialSource {
  const { ca, cert, key } = access;
  try {
    return openCredentials(
      {
        ...(ca !== undefined && { ca }),
        ...(cert !== undefined && { cert }),
        ...(key !== undefined && { key }),
      },
      access.files,
      report,
    );
  } catch (thrown) {
    throw unreachable(
      'read the certificates for etcd',
      access.endpoints.join(', '),
      reasonOf(thrown),
      thrown,
    );
  }
}
