import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { notReady } from '../attach/network-status.ts';
import type { Answer, Call } from '../attach/protocol.ts';
import type { Attachment, AttachRequest, CollectOptions, LinkRepairs, NetworkStatus } from '../types.ts';
import type { ChainNetwork, Chains } from './chains.ts';
import type { ChainJob } from './chain.types.ts';
import { createLatestWord } from './latest-word.ts';

/**
 * The engine's acts where plugins have a part: what is written down, and what our own rules do, is the network thread's; the plugins run
 * beside it, so that one that hangs holds up its own pod alone.
 */
export interface Joining {
  attach(request: AttachRequest): Promise<Attachment | undefined>;
  detach(id: string): Promise<void>;
  /** Removes what the engine itself made at once. Plugins go on after it: {@link Joining.settled}. */
  gc(valid: ReadonlySet<string>, options?: CollectOptions): Promise<LinkRepairs>;
  status(): Promise<NetworkStatus | undefined>;
  /** Returns when no plugin is at work any more in nobody's name. */
  settled(): Promise<void>;
}

export interface JoiningParts {
  readonly ask: (call: Call) => Promise<Answer>;
  readonly chains: Chains;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Whoever asks within this time hears the same of plugins: they are programs. */
const statusKeptMs = 1000;
/** A kubelet takes a runtime whose Status does not answer for one that is down, and touches no pod until it does. */
const statusPatienceMs = 3000;

function unanswered(networks: readonly ChainNetwork[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_TIMEOUT',
    kind: 'unavailable',
    attempted: 'ask how they stand (STATUS) the plugins of',
    on: networks.map(({ list }) => list.name).join(', '),
    why: `they have not answered for ${statusPatienceMs / 1000} s`,
    fix: "see what they wait for; each is killed after the setting 'network.pluginTimeout', and then asked again",
  });
}

export function createJoining({ ask, chains, log }: JoiningParts): Joining {
  /** The last act of each pod: the next one of the same pod waits for it. */
  const turns = new Map<string, Promise<unknown>>();
  let background: Promise<void> = Promise.resolve();

  const inTurn = <T>(id: string, act: () => Promise<T>): Promise<T> => {
    const before = turns.get(id);
    const turn = before === undefined ? act() : before.then(act, act);
    turns.set(id, turn);
    void turn.catch(() => undefined).finally(() => turns.get(id) === turn && turns.delete(id));
    return turn;
  };

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
        log.warn({ id: job.id, why: reasonOf(left) }, 'a failed attachment could not be removed at once; it is tried again'),
      );
      throw thrown;
    }
  };

  /** After a start: what nobody claims goes, the plugins collect what they have of nobody, and those that stand are compared. */
  const collect = async ({ unclaimed = [], claimed = [], networks = [] }: Answer): Promise<void> => {
    for (const { id } of unclaimed) {
      await inTurn(id, () => leave(id)).catch((thrown: unknown) =>
        log.warn({ id, why: reasonOf(thrown) }, 'an attachment in nobody’s name could not be removed; it is tried again at the next start'),
      );
    }
    for (const network of networks) if (network.way !== 'core') await chains.collect({ way: network.way, list: network.list }, claimed);
    for (const job of claimed) {
      if (job.netns === '' || turns.has(job.id)) continue;
      await chains
        .check(job)
        .catch((thrown: unknown) => log.warn({ id: job.id, why: reasonOf(thrown) }, 'an attachment differs from what its plugins made'));
    }
  };

  /** What a plugin of the networks says against them; undefined: nothing. */
  const troubleOf = async (networks: readonly ChainNetwork[]): Promise<unknown> => {
    try {
      for (const network of networks) await chains.status(network);
      return undefined;
    } catch (thrown) {
      return thrown;
    }
  };

  const plugins = createLatestWord(troubleOf, { keptMs: statusKeptMs, patienceMs: statusPatienceMs });

  const status = async (): Promise<NetworkStatus | undefined> => {
    const { status: own, networks = [] } = await ask({ do: 'status' });
    const byChain = networks.flatMap(({ way, list }) => (way === 'core' ? [] : [{ way, list }]));
    if (own?.ready !== true || byChain.length === 0) return own;
    const said = await plugins.about(JSON.stringify(byChain), byChain);
    const trouble = said === undefined ? unanswered(byChain) : said.word;
    return trouble === undefined ? own : { ...notReady(trouble), networks: own.networks };
  };

  return {
    // A pod that is not in the list of those that stand must not be attached while plugins go by it.
    attach: (request) => inTurn(request.id, () => background.then(() => attach(request))),
    detach: (id) => inTurn(id, () => leave(id)),
    async gc(valid, { altered = false } = {}) {
      const asked = ask({ do: 'gc', valid: new Set([...valid, ...turns.keys()]), altered });
      background = Promise.all([asked, background])
        .then(([answer]) => collect(answer))
        .catch((thrown: unknown) => log.warn({ why: reasonOf(thrown) }, 'what nobody claims could not be collected'));
      return (await asked).repairs ?? { restored: [], lost: [] };
    },
    status,
    settled: () => background,
  };
}
