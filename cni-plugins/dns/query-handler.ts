import { contains, formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { answerRecords, queryFor } from './answer-records.ts';
import type { ClusterDecision } from './cluster-decide.ts';
import { decide } from './decide.ts';
import type { ZoneSettings } from './decide.ts';
import type { Forwarder } from './forwarder.ts';
import type { ReceivedQuery } from './received-query.ts';
import { encodeFailure, encodeReply } from './reply.ts';
import { extendedError, rcode } from './message-format.ts';
import { isFailure, isTruncated, rcodeOf, relayed } from './forwarded-messages.ts';
import { readQuery, roomOf } from './query.ts';
import type { Reply } from './reply.ts';
import type { Query } from './query.ts';
import type { NameTable, Seen } from './name-table.ts';
import type { ServedNetwork } from './served-networks.ts';

/** The result of a question, for metrics. */
export type QueryResult =
  | 'answered'
  | 'denied'
  | 'forwarded'
  | 'failed'
  | 'refused'
  | 'malformed'
  | 'ignored';

interface CommonOptions {
  readonly settings: ZoneSettings;
  readonly forwarder: Pick<Forwarder, 'ask'>;
  /** Servers for an asker without servers of its own. They do not include our own listeners. */
  readonly upstreams: () => readonly IpAddress[];
  /** Addresses at which we answer ourselves. They are never asked, because that would be a loop. */
  readonly isOwn: (address: IpAddress) => boolean;
  readonly report: (result: QueryResult) => void;
}

export type QueryHandlerOptions = CommonOptions & AskerView;

/** How the asker is found, and what it can ask for besides names of networks. */
type AskerView =
  | { readonly table: Pick<NameTable, 'seenBy'>; readonly seenFrom?: undefined; readonly cluster?: undefined }
  | {
      readonly table?: undefined;
      /** Returns what an asker sees. Undefined: it gets only a refusal. */
      readonly seenFrom: (asker: IpAddress) => Seen | undefined;
      readonly cluster: (asked: Query) => ClusterDecision;
    };

const longestStreamMessage = 0xffff;

/**
 * Returns the handler for questions at a gateway.
 * @param networks that have this gateway when the question arrives
 */
export function createQueryHandler(
  options: QueryHandlerOptions,
): (received: ReceivedQuery, networks: readonly ServedNetwork[]) => void {
  const { settings, forwarder, report } = options;

  return (received, networks) => {
    const { message, asker, byStream, reply } = received;
    const asked = readQuery(message);
    if (asked === undefined) {
      report('ignored');
      return reply(undefined);
    }
    if ('rcode' in asked) {
      report('malformed');
      return reply(encodeFailure(message, asked.rcode));
    }
    const room = byStream ? longestStreamMessage : roomOf(asked);
    const say = (result: QueryResult, answer: Reply, question = message): void => {
      report(result);
      reply(encodeReply(question, asked, answer, room));
    };
    const seen =
      options.seenFrom === undefined ? seenFrom(options.table, asker, networks) : options.seenFrom(asker);
    if (seen === undefined) return say('refused', refusal);
    const ofCluster = options.cluster?.(asked);
    if (ofCluster !== undefined) {
      if (!('alias' in ofCluster)) return say(resultOf(ofCluster), ofCluster);
      if (!seen.mayForward) return say('refused', refusal);
      return followAlias(received, asked, ofCluster, seen, say);
    }
    const decision = decide(asked, seen.networks, settings);
    if (decision === 'forward' && !seen.mayForward) return say('refused', refusal);
    if (decision === 'forward') return forward(received, asked, seen, room, say);
    if (!('unlessElsewhere' in decision)) return say(resultOf(decision), decision);
    const { unlessElsewhere: own } = decision;
    if (!seen.mayForward || serversFor(seen).length === 0) return say(resultOf(own), own);
    forward(received, asked, seen, room, say, own);
  };

  /**
   * Returns what an asker sees: an asker on the network, or the host itself, which asks from the gateway's
   * own address. Undefined for any other asker, which gets only a refusal, so that no answer amplifies a
   * question.
   */
  function seenFrom(
    table: Pick<NameTable, 'seenBy'>,
    asker: IpAddress,
    networks: readonly ServedNetwork[],
  ): Seen | undefined {
    const near = networks.filter(({ subnets }) => subnets.some((subnet) => contains(subnet, asker)));
    const seen = near.map((network) => table.seenBy(asker, network));
    return seen.find(({ isAttached }) => isAttached) ?? seen[0];
  }

  function serversFor(seen: Seen): readonly IpAddress[] {
    const isOther = (server: IpAddress): boolean => !options.isOwn(server);
    const own = seen.upstreams.filter(isOther);
    return own.length > 0 ? own : options.upstreams().filter(isOther);
  }

  /** Answers an alias of a name elsewhere, with the addresses of that name: a resolver of a pod asks once. */
  function followAlias(
    { message, asker, byStream }: ReceivedQuery,
    asked: Query,
    { alias, chain }: Extract<ClusterDecision, { alias: string }>,
    seen: Seen,
    say: (result: QueryResult, answer: Reply, question: Buffer) => void,
  ): void {
    const question = Buffer.from(message);
    const query = queryFor(alias, asked.type);
    const read = readQuery(query);
    if (read === undefined || 'rcode' in read) return say('failed', unreachable, question);
    forwarder.ask(
      { query, asked: read, asker: formatIp(asker), byStream, servers: serversFor(seen) },
      (answer) => {
        // A truncated datagram may end within a record. An asker that can ask over TCP ignores its records
        // (RFC 2181, section 9), and one that cannot, such as musl before 1.2.4, uses those that arrived.
        const isCut = !byStream && answer !== undefined && isTruncated(answer);
        const records = (answer && answerRecords(answer, read.questionEnd)) ?? (isCut ? [] : undefined);
        if (answer === undefined || records === undefined || isFailure(answer))
          return say('failed', unreachable, question);
        const reply: Reply = {
          rcode: rcodeOf(answer),
          answers: [...chain, ...records],
          ttl: settings.ttl,
          authoritative: true,
          ...(isTruncated(answer) && { truncated: true }),
        };
        say('forwarded', reply, question);
      },
    );
  }

  /** @param own the reply if the other name servers do not have the name, or none can be asked */
  function forward(
    { message, asker, byStream, reply }: ReceivedQuery,
    asked: Query,
    seen: Seen,
    room: number,
    say: (result: QueryResult, answer: Reply, question: Buffer) => void,
    own?: Reply,
  ): void {
    const query = Buffer.from(message);
    forwarder.ask(
      { query, asked, asker: formatIp(asker), byStream, servers: serversFor(seen) },
      (answer, limited) => {
        // An asker that exceeds its limit must not change the meaning of a name by that.
        const isElsewhere =
          limited !== undefined || (answer !== undefined && rcodeOf(answer) === rcode.NOERROR);
        if (own !== undefined && !isElsewhere) return say(resultOf(own), own, query);
        if (answer === undefined) return say('failed', unreachable, query);
        report('forwarded');
        reply(relayed(answer, query, asked, room));
      },
    );
  }
}

const refusal: Reply = {
  rcode: rcode.REFUSED,
  answers: [],
  ttl: 0,
  authoritative: false,
  extendedError: extendedError.prohibited,
};
const unreachable: Reply = {
  rcode: rcode.SERVFAIL,
  answers: [],
  ttl: 0,
  authoritative: false,
  extendedError: extendedError.noReachableAuthority,
};

function resultOf({ rcode: code, authoritative }: Reply): QueryResult {
  if (code === rcode.REFUSED || !authoritative) return 'refused';
  return code === rcode.NXDOMAIN ? 'denied' : 'answered';
}
