import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { notReady } from './pods/network-status.ts';
import type { Answer, Call } from './thread/protocol.ts';
import type { Attachment, AttachRequest, CollectOptions, LinkRepairs, NetworkStatus } from '../types.ts';
import type { ChainNetwork, Chains } from '../cni/index.ts';
import type { ChainJob } from '../calls/chain.types.ts';
import { createLatestAnswer } from './latest-answer.ts';

/**
 * The engine's operations in which plugins take part. The network thread records and applies our own rules;
 * the plugins run beside it, so that a plugin that hangs blocks only its own pod.
 */
export interface Joining {
  attach(request: AttachRequest): Promise<Attachment | undefined>;
  detach(id: string): Promise<void>;
  /** Removes what the engine itself created at once. Plugins continue afterwards: {@link Joining.settled}. */
  gc(valid: ReadonlySet<string>, options?: CollectOptions): Promise<LinkRepairs>;
  status(): Promise<NetworkStatus | undefined>;
  /** Returns when no plugin is working in the background any more. */
  settled(): Promise<void>;
}

export interface JoiningDeps {
  readonly ask: (call: Call) => Promise<Answer>;
  readonly chains: Chains;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Requests within this time get the same plugin status, because asking starts programs. */
const statusKeptMs = 1000;
/** If Status does not answer, a kubelet considers the runtime down and touches no pod until it answers. */
const statusPatienceMs = 3000;

function unanswered(networks: readonly ChainNetwork[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_TIMEOUT',
    kind: 'unavailable',
    attempted: 'query the status (STATUS) of the plugins of',
    on: networks.map(({ list }) => list.name).join(', '),
    why: `they have not answered for ${statusPatienceMs / 1000} s`,
    fix: "find out what they wait for; each is killed after the time in 'network.pluginTimeout', and then called again",
  });
}

export function createJoining({ ask, chains, log }: JoiningDeps): Joining {
  /** The last operation of each pod. The next operation of the same pod waits for it. */
  const turns = createKeyedQueue();
  let background: Promise<void> = Promise.resolve();

  const removeJob = async (job: ChainJob): Promise<void> => {
    await chains.remove(job);
    await ask({ do: 'left', id: job.id });
  };

  const leave = async (id: string): Promise<void> => {
    const { job } = await ask({ do: 'leave', id });
    if (job !== undefined) await removeJob(job);
  };

  const attach = async (request: AttachRequest): Promise<Attachment | undefined> => {
    let answer = await ask({ do: 'attach', request });
    if (answer.stale !== undefined) {
      await leave(request.id);
      answer = await ask({ do: 'attach', request });
    }
    const { job, changed } = answer;
    if (job === undefined) return changed?.[0];
    try {
      const results = await chains.add(job);
      return (await ask({ do: 'joined', id: job.id, results })).changed?.[0];
    } catch (thrown) {
      await leave(job.id).catch((left: unknown) =>
        log.warn(
          { id: job.id, why: reasonOf(left) },
          'a failed attachment could not be removed at once; it is tried again',
        ),
      );
      throw thrown;
    }
  };

  /**
   * Cleans up after a start: removes unclaimed attachments, has the plugins collect attachments that no pod
   * owns, and checks the remaining ones.
   */
  const collect = async ({ unclaimed = [], claimed = [], networks = [] }: Answer): Promise<void> => {
    for (const { id } of unclaimed) {
      await turns
        .run(id, () => leave(id))
        .catch((thrown: unknown) =>
          log.warn(
            { id, why: reasonOf(thrown) },
            'an unclaimed attachment could not be removed; it is tried again at the next start',
          ),
        );
    }
    for (const network of networks)
      if (network.way !== 'core') await chains.collect({ way: network.way, list: network.list }, claimed);
    for (const job of claimed) {
      if (job.netns === '' || turns.has(job.id)) continue;
      await chains
        .check(job)
        .catch((thrown: unknown) =>
          log.warn({ id: job.id, why: reasonOf(thrown) }, 'an attachment differs from what its plugins made'),
        );
    }
  };

  /** Returns what a plugin of the networks reports as its problem, or undefined if there is none. */
  const troubleOf = async (networks: readonly ChainNetwork[]): Promise<unknown> => {
    try {
      for (const network of networks) {
        await refuseUnknownFields(network);
        await chains.status(network);
      }
      return undefined;
    } catch (thrown) {
      return thrown;
    }
  };

  const plugins = createLatestAnswer(troubleOf, { keptMs: statusKeptMs, patienceMs: statusPatienceMs });

  const status = async (): Promise<NetworkStatus | undefined> => {
    const { status: own, networks = [] } = await ask({ do: 'status' });
    const byChain = networks.flatMap(({ way, list }) => (way === 'core' ? [] : [{ way, list }]));
    if (own?.ready !== true || byChain.length === 0) return own;
    const said = await plugins.about(JSON.stringify(byChain), byChain);
    const trouble = said === undefined ? unanswered(byChain) : said.word;
    return trouble === undefined ? own : { ...notReady(trouble), networks: own.networks };
  };

  return {
    // A pod that is not in the list of valid pods must not be attached while plugins use that list.
    attach: (request) => turns.run(request.id, () => background.then(() => attach(request))),
    detach: (id) => turns.run(id, () => leave(id)),
    async gc(valid, { altered = false } = {}) {
      const asked = ask({ do: 'gc', valid: new Set([...valid, ...turns.keys()]), altered });
      background = Promise.all([asked, background])
        .then(([answer]) => collect(answer))
        .catch((thrown: unknown) =>
          log.warn({ why: reasonOf(thrown) }, 'unclaimed attachments could not be collected'),
        );
      return (await asked).repairs ?? { restored: [], lost: [] };
    },
    status,
    settled: () => background,
  };
}

/** STATUS exists since CNI 1.1, but an ADD of any version refuses fields that no plugin knows. */
async function refuseUnknownFields({ way, list }: ChainNetwork): Promise<void> {
  if (way !== 'in-process') return;
  const { refusedFieldsOf } = await import('../networks/refused-fields.ts');
  const [why] = refusedFieldsOf({ list });
  if (why === undefined) return;
  throw new PortcullisError({
    code: 'NETWORK_CONFIG_INVALID',
    kind: 'invalid',
    attempted: 'use the network',
    on: list.name,
    why,
    fix: 'correct the network configuration',
  });
}
