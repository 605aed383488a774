import { formatIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { queryFor } from './answer-records.ts';
import { type } from './message-format.ts';
import { readQuery } from './query.ts';
import type { ServerHealth } from './server-health.ts';
import type { ServerSockets } from './server-sockets.ts';

/**
 * Finds out whether a server that did not answer a question is down. Whoever serves a name can keep a
 * resolver from answering for it, so the server is asked for the servers of the root, which every resolver
 * knows. A probe does not end with the question: another server may have answered it.
 */
export interface ServerProbes {
  /** Reports a failure if the server answers neither the probe nor any question in time. */
  probe(server: IpAddress): void;
  close(): void;
}

const query = queryFor('', type.NS);
const answerMs = 1000;

export function createServerProbes(
  sockets: Pick<ServerSockets, 'ask'>,
  health: Pick<ServerHealth, 'answered' | 'answeredSince' | 'failed'>,
): ServerProbes {
  const asked = readQuery(query);
  if (asked === undefined || 'rcode' in asked) throw new Error('the probe is not a query');
  /** One for each server, with the number of questions that wait for its outcome. */
  const underWay = new Map<string, { questions: number; end(): void }>();

  const begin = (key: string, server: IpAddress): void => {
    const began = performance.now();
    let forget = (): void => undefined;
    const end = (): void => {
      underWay.delete(key);
      clearTimeout(late);
      forget();
    };
    const current = { questions: 1, end };
    const late = setTimeout(() => {
      end();
      if (!health.answeredSince(server, began)) health.failed(server, current.questions);
    }, answerMs);
    underWay.set(key, current);
    const answer = (): void => {
      end();
      health.answered(server);
    };
    try {
      forget = sockets.ask(server, { query, asked, byStream: false }, { answer, failure: () => undefined });
    } catch {
      // The question that the server did not answer reports this, too.
      end();
    }
  };

  return {
    probe(server) {
      const key = formatIp(server);
      const existing = underWay.get(key);
      if (existing === undefined) begin(key, server);
      else existing.questions += 1;
    },
    close() {
      for (const { end } of [...underWay.values()]) end();
    },
  };
}
