import { randomInt } from 'node:crypto';
import { isIP } from 'node:net';
import { checkServerIdentity } from 'node:tls';
import { ChannelCredentials, Client, Metadata, status } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { endOf, rpcs, streams } from './messages.ts';
import type { Codec, Comparison, KeyValue, Step, WatchAnswer } from './messages.ts';

/** Where etcd answers. Certificates and key are PEM texts. */
export interface EtcdAccess {
  /** `https://192.0.2.10:2379`. */
  readonly endpoints: readonly string[];
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface Listing {
  readonly revision: number;
  /** Tells two clusters, or one and what was restored of it, apart. */
  readonly cluster: number;
  readonly pairs: readonly KeyValue[];
}

/** One stream to etcd, in both directions. */
export interface Stream<Ask, Answer> {
  write(value: Ask): void;
  /** Ends with a thrown failure, or silently after `close`. */
  readonly answers: AsyncIterable<Answer>;
  close(): void;
}

/** A client of etcd's API v3 that asks one member at a time and the next one when that fails. It does not try again by itself. */
export interface EtcdClient {
  /** All keys that begin so, of one revision. @throws OVERLAY_ETCD_UNREACHABLE */
  list(prefix: string): Promise<Listing>;
  get(key: string): Promise<KeyValue | undefined>;
  /** Whether the comparisons held and the steps were taken. @throws OVERLAY_ETCD_UNREACHABLE */
  transact(compare: readonly Comparison[], steps: readonly Step[]): Promise<boolean>;
  /** A new lease of that many seconds. @returns its id */
  grant(seconds: number): Promise<number>;
  keepAlive(): Stream<{ readonly id: number }, { readonly id: number; readonly ttl: number }>;
  /** From that revision on. */
  watch(prefix: string, startRevision: number): Stream<never, WatchAnswer>;
  close(): void;
}

const deadlineMs = 5000;
const pageSize = 1000;
/** A member that is cut off from us is noticed after both; etcd refuses pings more often than every 5 s. */
const pingEveryMs = 10_000;
const pingTimeoutMs = 5000;
/** A page of descriptions of services at their largest. */
const largestAnswer = 64 * 1024 * 1024;
const idRange = 2 ** 47;
const nameOfNobody = 'etcd.invalid';

/** @throws OVERLAY_ETCD_UNREACHABLE when certificates or key are none */
export function openEtcd(access: EtcdAccess): EtcdClient {
  const members = access.endpoints.map((endpoint) => memberAt(endpoint, access));
  let turn = 0;
  let closed = false;
  const current = (): { readonly endpoint: string; readonly client: Client } => {
    const member = members[turn % members.length];
    if (member === undefined) throw unreachable('connect to etcd', '', 'no endpoint is given');
    return member;
  };
  // A member without a leader would show us the past for as long as it is cut off.
  const withLeader = new Metadata();
  withLeader.set('hasleader', 'true');

  const once = <Ask, Answer>(
    { path, ask, answer }: { path: string; ask: Codec<Ask>; answer: Codec<Answer> },
    value: Ask,
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const { endpoint, client } = current();
      const deadline = Date.now() + deadlineMs;
      client.makeUnaryRequest(path, ask.encode, answer.decode, value, new Metadata(), { deadline }, (error, found) => {
        if (found !== undefined && error === null) return resolve(found);
        turn += 1;
        reject(
          unreachable(
            `call ${path.slice(path.lastIndexOf('/') + 1)}`,
            endpoint,
            error === null ? 'it answered nothing' : wordsOf(error),
            error,
          ),
        );
      });
    });

  const call = async <Ask, Answer>(rpc: { path: string; ask: Codec<Ask>; answer: Codec<Answer> }, value: Ask): Promise<Answer> => {
    for (let left = members.length; ; left -= 1) {
      try {
        return await once(rpc, value);
      } catch (thrown) {
        if (left <= 1 || closed) throw thrown;
      }
    }
  };

  const stream = <Ask, Answer>({ path, ask, answer }: { path: string; ask: Codec<Ask>; answer: Codec<Answer> }): Stream<Ask, Answer> => {
    const { endpoint, client } = current();
    const call: ClientDuplexStream<Ask, Answer> = client.makeBidiStreamRequest(path, ask.encode, answer.decode, withLeader);
    let over = false;
    const isOver = (): boolean => over;
    return {
      write: (value) => void call.write(value),
      answers: (async function* () {
        try {
          for await (const each of call) yield each as Answer;
          if (!isOver()) throw unreachable('follow etcd', endpoint, 'it ended the stream');
        } catch (thrown) {
          if (isOver()) return;
          turn += 1;
          throw thrown instanceof PortcullisError ? thrown : unreachable('follow etcd', endpoint, wordsOf(thrown as ServiceError), thrown);
        }
      })(),
      close() {
        over = true;
        call.on('error', () => undefined);
        call.cancel();
      },
    };
  };

  return {
    async list(prefix) {
      const pairs: KeyValue[] = [];
      let revision = 0;
      for (let from = prefix; ;) {
        const page = await call(rpcs.range, { key: from, rangeEnd: endOf(prefix), limit: pageSize, revision });
        pairs.push(...page.kvs);
        if (revision === 0) ({ revision } = page.header);
        const last = page.kvs.at(-1);
        if (!page.more || last === undefined) return { revision, cluster: page.header.clusterId, pairs };
        from = `${last.key}\0`;
      }
    },
    get: async (key) => (await call(rpcs.range, { key })).kvs[0],
    transact: async (compare, success) => (await call(rpcs.transact, { compare, success, failure: [] })).succeeded,
    grant: async (seconds) => (await call(rpcs.grant, { ttl: seconds, id: randomInt(1, idRange) })).id,
    keepAlive: () => stream(streams.keepAlive),
    watch(prefix, startRevision) {
      const opened = stream(streams.watch);
      opened.write({ create: { key: prefix, rangeEnd: endOf(prefix), startRevision, progressNotify: true } });
      return opened;
    },
    close() {
      closed = true;
      for (const { client } of members) client.close();
    },
  };
}

function memberAt(endpoint: string, { ca, cert, key }: EtcdAccess): { endpoint: string; client: Client } {
  const { protocol, host, hostname } = new URL(endpoint);
  const address = hostname.replace(/^\[|\]$/gu, '');
  const isAddress = protocol === 'https:' && isIP(address) !== 0;
  const bytes = (pem: string | undefined): Buffer | null => (pem === undefined ? null : Buffer.from(pem));
  try {
    const credentials =
      protocol === 'https:'
        ? ChannelCredentials.createSsl(
            bytes(ca),
            bytes(key),
            bytes(cert),
            isAddress ? { checkServerIdentity: (_, found) => checkServerIdentity(address, found) } : {},
          )
        : ChannelCredentials.createInsecure();
    return {
      endpoint,
      client: new Client(host, credentials, {
        // TLS names no addresses (RFC 6066, section 3), and Node refuses to: a name that says nothing goes in its place, and the address is checked.
        ...(isAddress && { 'grpc.ssl_target_name_override': nameOfNobody }),
        'grpc.keepalive_time_ms': pingEveryMs,
        'grpc.keepalive_timeout_ms': pingTimeoutMs,
        'grpc.keepalive_permit_without_calls': 1,
        'grpc.max_receive_message_length': largestAnswer,
        'grpc.initial_reconnect_backoff_ms': 200,
        'grpc.max_reconnect_backoff_ms': 2000,
        'grpc.enable_channelz': 0,
      }),
    };
  } catch (thrown) {
    throw unreachable('read the certificates for etcd', endpoint, reasonOf(thrown), thrown);
  }
}

const wordsOf = (error: ServiceError): string =>
  (error.code as number | undefined) === undefined
    ? reasonOf(error)
    : `${status[error.code]}: ${error.details.replace(/ Resolution note: $/u, '')}`;

/** @param cause of grpc, whose message names no secret */
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
