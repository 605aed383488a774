import { contains, formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { decide } from './decide.ts';
import type { ZoneSettings } from './decide.ts';
import type { Forwarder } from './forwarder.ts';
import type { ReceivedQuery } from './received-query.ts';
import {
  encodeFailure,
  encodeReply,
  extendedError,
  rcode,
  rcodeOf,
  readQuery,
  relayed,
  roomOf,
} from './message.ts';
import type { Query, Reply } from './message.ts';
import type { NameTable, Seen } from './name-table.ts';
import type { ServedNetwork } from './served-networks.ts';

/** The result of a question, for metrics. */
export type QueryResult =
  'answered' | 'denied' | 'forwarded' | 'failed' | 'refused' | 'malformed' | 'ignored';

export interface QueryHandlerOptions {
  readonly table: Pick<NameTable, 'seenBy'>;
  readonly settings: ZoneSettings;
  readonly forwarder: Pick<Forwarder, 'ask'>;
  /** Servers for an asker without servers of its own. They do not include our own listeners. */
  readonly upstreams: () => readonly IpAddress[];
  /** Addresses at which we answer ourselves. They are never asked, because that would be a loop. */
  readonly isOwn: (address: IpAddress) => boolean;
  readonly tell: (result: QueryResult) => void;
}

const longestStreamMessage = 0xffff;

/**
 * Returns the handler for questions at a gateway.
 * @param networks that have this gateway when the question arrives
 */
export function createQueryHandler(
  options: QueryHandlerOptions,
): (arrival: ReceivedQuery, networks: readonly ServedNetwork[]) => void {
  const { table, settings, forwarder, tell: report } = options;

  return (arrival, networks) => {
    const { message, asker, byStream, reply } = arrival;
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
    const seen = seenFrom(asker, networks);
    if (seen === undefined) return say('refused', refusal);
    const decision = decide(asked, seen.networks, settings);
    if (decision === 'forward' && !seen.mayForward) return say('refused', refusal);
    if (decision === 'forward') return forward(arrival, asked, seen, room, say);
    if (!('unlessElsewhere' in decision)) return say(resultOf(decision), decision);
    const { unlessElsewhere: own } = decision;
    if (!seen.mayForward || serversFor(seen).length === 0) return say(resultOf(own), own);
    forward(arrival, asked, seen, room, say, own);
  };

  /**
   * Returns what an asker sees: an asker on the network, or the host itself, which asks from the gateway's
   * own address. Undefined for any other asker, which gets only a refusal, so that no answer amplifies a
   * question.
   */
  function seenFrom(asker: IpAddress, networks: readonly ServedNetwork[]): Seen | undefined {
    const near = networks.filter(({ subnets }) => subnets.some((subnet) => contains(subnet, asker)));
    const seen = near.map((network) => table.seenBy(asker, network));
    return seen.find(({ isAttached }) => isAttached) ?? seen[0];
  }

  function serversFor(seen: Seen): readonly IpAddress[] {
    return (seen.upstreams.length > 0 ? seen.upstreams : options.upstreams()).filter(
      (server) => !options.isOwn(server),
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
