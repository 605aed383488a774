import { randomInt } from 'node:crypto';
import { Metadata, status } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { connectionsAt } from './connections.ts';
import type { Connections } from './connections.ts';
import { openCredentials } from './credentials.ts';
import type { CredentialSource, Credentials } from './credentials.ts';
import { createMembers } from './members.ts';
import { endOf, rpcs, streams } from './messages.ts';
import type { Codec, Comparison, KeyValue, Step, WatchAnswer, WatchAsk } from './messages.ts';

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

/** One stream to etcd, in both directions. */
export interface Stream<Ask, Answer> {
  write(value: Ask): void;
  /** Ends with a thrown failure, or silently after `close`. */
  readonly answers: AsyncIterable<Answer>;
  close(): void;
  /** Ends the stream with a failure, and leaves its member, because it does not answer as it should. */
  abandon(why: string): void;
}

/** The outcome of a transaction. */
export interface Outcome {
  /** Whether the comparisons held and the steps were applied. */
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
   * @param keysOnly without values @throws OVERLAY_ETCD_UNREACHABLE · OVERLAY_ETCD_DENIED, as each of these
   */
  list(prefix: string, options?: { readonly keysOnly?: boolean }): Promise<Listing>;
  get(key: string): Promise<KeyValue | undefined>;
  /**
   * Returns the revision that etcd has agreed on by now, and its cluster. @param key any key that may be read
   */
  agreed(key: string): Promise<{ readonly revision: number; readonly cluster: number }>;
  /** Returns whether the comparisons held and the steps were applied. */
  transact(compare: readonly Comparison[], steps: readonly Step[]): Promise<boolean>;
  commit(compare: readonly Comparison[], steps: readonly Step[]): Promise<Outcome>;
  /** Grants a new lease of that many seconds. @returns its id */
  grant(seconds: number): Promise<number>;
  keepAlive(): Stream<{ readonly id: number }, { readonly id: number; readonly ttl: number }>;
  /** Watches from that revision on. */
  watch(prefix: string, startRevision: number): Stream<WatchAsk, WatchAnswer>;
  close(): void;
}

const deadlineMs = 5000;
const pageSize = 1000;
const idRange = 2 ** 47;

/** Failures that the request itself caused: another member would answer the same. */
const ownFaults: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.PERMISSION_DENIED,
  status.FAILED_PRECONDITION,
  status.OUT_OF_RANGE,
  status.UNAUTHENTICATED,
]);
const tooLarge = /larger than max/u;

/**
 * @param tell called with the problem of credentials whose files changed and cannot be used; with '' when
 * they can @throws OVERLAY_ETCD_UNREACHABLE when certificates or key are invalid
 */
export function openEtcd(access: EtcdAccess, tell?: (problem: string) => void): EtcdClient {
  const credentials = openOrThrow(access, tell);
  const all = access.endpoints.map((endpoint) => connectionsAt(endpoint, credentials));
  const members = createMembers(all);
  let closed = false;
  // A member without a leader would return stale data for as long as it is cut off.
  const withLeader = new Metadata();
  withLeader.set('hasleader', 'true');

  const leave = (member: Connections): void => {
    members.failed(member);
    // The member may no longer accept our certificate.
    credentials.check();
  };

  const once = <Ask, Answer>(
    member: Connections,
    { path, ask, answer }: { path: string; ask: Codec<Ask>; answer: Codec<Answer> },
    value: Ask,
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const { client, release } = member.take();
      const deadline = Date.now() + deadlineMs;
      client.makeUnaryRequest(path, ask.encode, answer.decode, value, withLeader, { deadline }, (error, found) => {
        release();
        if (found !== undefined && error === null) {
          members.answered(member);
          return resolve(found);
        }
        if (error === null || !isOwnFault(error)) leave(member);
        reject(
          error === null
            ? unreachable(`call ${path.slice(path.lastIndexOf('/') + 1)}`, member.endpoint, 'it answered nothing')
            : failureOf(`call ${path.slice(path.lastIndexOf('/') + 1)}`, member.endpoint, error),
        );
      });
    });

  const call = async <Ask, Answer>(rpc: { path: string; ask: Codec<Ask>; answer: Codec<Answer> }, value: Ask): Promise<Answer> => {
    for (let left = members.size; ; left -= 1) {
      try {
        return await once(members.current(), rpc, value);
      } catch (thrown) {
        const { cause } = thrown as Error;
        if (left <= 1 || closed || (cause !== undefined && isOwnFault(cause as ServiceError))) throw thrown;
      }
    }
  };

  const stream = <Ask, Answer>({ path, ask, answer }: { path: string; ask: Codec<Ask>; answer: Codec<Answer> }): Stream<Ask, Answer> => {
    const member = members.current();
    const { client, release } = member.take();
    const duplex: ClientDuplexStream<Ask, Answer> = client.makeBidiStreamRequest(path, ask.encode, answer.decode, withLeader);
    const attempted = 'follow etcd';
    let over = false;
    const isOver = (): boolean => over;
    let abandoned: PortcullisError | undefined;
    const end = (): void => {
      if (!over) release();
      over = true;
      duplex.on('error', () => undefined);
      duplex.cancel();
    };
    return {
      write(value) {
        if (!over) duplex.write(value);
      },
      answers: (async function* () {
        try {
          for await (const each of duplex) {
            members.answered(member);
            yield each as Answer;
          }
          if (!isOver()) throw unreachable(attempted, member.endpoint, 'it ended the stream');
        } catch (thrown) {
          if (!isOver()) {
            end();
            if (!isOwnFault(thrown as ServiceError)) leave(member);
            throw thrown instanceof PortcullisError ? thrown : failureOf(attempted, member.endpoint, thrown as ServiceError);
          }
        }
        if (abandoned !== undefined) throw abandoned;
      })(),
      close: end,
      abandon(why) {
        if (over) return;
        abandoned = unreachable(attempted, member.endpoint, why);
        leave(member);
        end();
      },
    };
  };

  const page = async (key: string, prefix: string, limit: number, revision: number, keysOnly: boolean) => {
    for (let most = limit; ; most = Math.ceil(most / 8)) {
      try {
        return { most, ...(await call(rpcs.range, { key, rangeEnd: endOf(prefix), limit: most, revision, keysOnly })) };
      } catch (thrown) {
        // Values may be so large that fewer of them fit into one answer.
        if (most === 1 || !(thrown instanceof PortcullisError) || !tooLarge.test(thrown.failure.why)) throw thrown;
      }
    }
  };

  const commit: EtcdClient['commit'] = async (compare, success) => {
    const { header, succeeded } = await call(rpcs.transact, { compare, success, failure: [] });
    return { succeeded, revision: header.revision };
  };

  return {
    async list(prefix, { keysOnly = false } = {}) {
      const pairs: KeyValue[] = [];
      let revision = 0;
      let limit = pageSize;
      for (let from = prefix; ;) {
        const { header, kvs, more, most } = await page(from, prefix, limit, revision, keysOnly);
        limit = Math.min(most * 2, pageSize);
        for (const pair of kvs) pairs.push(pair);
        if (revision === 0) ({ revision } = header);
        const last = kvs.at(-1);
        if (!more || last === undefined) return { revision, cluster: header.clusterId, pairs };
        from = `${last.key}\0`;
      }
    },
    get: async (key) => (await call(rpcs.range, { key })).kvs[0],
    async agreed(key) {
      const { header } = await call(rpcs.range, { key, keysOnly: true, limit: 1 });
      return { revision: header.revision, cluster: header.clusterId };
    },
    transact: async (compare, steps) => (await commit(compare, steps)).succeeded,
    commit,
    grant: async (seconds) => (await call(rpcs.grant, { ttl: seconds, id: randomInt(1, idRange) })).id,
    keepAlive: () => stream(streams.keepAlive),
    watch(prefix, startRevision) {
      const opened = stream(streams.watch);
      opened.write({ create: { key: prefix, rangeEnd: endOf(prefix), startRevision, progressNotify: true, fragment: true } });
      return opened;
    },
    close() {
      closed = true;
      credentials.close();
      for (const member of all) member.close();
    },
  };
}

const isOwnFault = ({ code, details }: Partial<ServiceError>): boolean =>
  code !== undefined && (ownFaults.has(code) || tooLarge.test(details ?? ''));

function openOrThrow(access: EtcdAccess, tell: ((problem: string) => void) | undefined): CredentialSource {
  const { ca, cert, key } = access;
  try {
    return openCredentials(
      { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) },
      access.files,
      tell,
    );
  } catch (thrown) {
    throw unreachable('read the certificates for etcd', access.endpoints.join(', '), reasonOf(thrown), thrown);
  }
}

/** etcd asks for a user when the certificate names none. */
const noUser = /user name is empty/u;

function failureOf(attempted: string, endpoint: string, error: ServiceError): PortcullisError {
  const why =
    (error.code as number | undefined) === undefined
      ? reasonOf(error)
      : `${status[error.code]}: ${error.details.replace(/ Resolution note: $/u, '')}`;
  return error.code === status.PERMISSION_DENIED || error.code === status.UNAUTHENTICATED || noUser.test(why)
    ? denied(attempted, endpoint, why, error)
    : unreachable(attempted, endpoint, why, error);
}

/** @param cause error of grpc, whose message contains no secret */
function unreachable(attempted: string, on: string, why: string, cause?: unknown): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'unavailable',
    attempted,
    on,
    why,
    fix: 'see that etcd runs and answers this host at `network.overlay.etcd.endpoints`, with these certificates; pods go on meanwhile',
    cause,
  });
}

function denied(attempted: string, on: string, why: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_DENIED',
    kind: 'denied',
    attempted,
    on,
    why,
    fix: "give the user that this host's certificate names (CN) the role of this host: docs/overlay.md, section Ownership",
    cause,
  });
}
