import type { NetworkEngine, NetworkStatus } from '../types.ts';
import type { Joining } from './joining.ts';
import { createLatestAnswer } from './latest-answer.ts';
import { engineLost } from './thread/engine-thread.ts';
import type { Answer, Call } from './thread/protocol.ts';

/** The queries that the engine answers without changing an attachment. */
export type EngineQuestions = Pick<
  NetworkEngine,
  'denials' | 'explain' | 'figures' | 'hasServices' | 'linkState' | 'alterations' | 'status'
>;

/** How long a status is waited for: longer than plugins are. */
const patienceMs = 5_000;
/** A thread that does not answer for this long waits for its disk, or gets no processor. */
const hungMs = 30_000;

const failed = (message: string): NetworkStatus => ({
  ready: false,
  reason: 'NetworkEngineFailed',
  message,
  networks: [],
});

/**
 * @param ask calls the engine's thread
 * @param now milliseconds of a clock that is never set
 */
export function createEngineQuestions(
  ask: (call: Call) => Promise<Answer>,
  joining: Pick<Joining, 'status'>,
  { patience = patienceMs, now = () => performance.now() } = {},
): EngineQuestions {
  /** When the status was asked for that has not been answered yet. */
  let unansweredSince: number | undefined;
  const current = async (): Promise<NetworkStatus> => {
    unansweredSince = now();
    try {
      const status = await joining.status();
      if (status !== undefined) return status;
      throw engineLost('the answer holds no status', 'report this with the daemon log');
    } catch (thrown) {
      return failed(thrown instanceof Error ? thrown.message : String(thrown));
    } finally {
      unansweredSince = undefined;
    }
  };
  const latest = createLatestAnswer(current, { keptMs: 0, patienceMs: patience });
  return {
    denials: async () => (await ask({ do: 'denials' })).denials ?? [],
    async explain(question) {
      const { explanation } = await ask({ do: 'explain', question });
      if (explanation === undefined)
        throw engineLost('the answer holds no explanation', 'report this with the daemon log');
      return explanation;
    },
    figures: async () =>
      (await ask({ do: 'figures' })).figures ?? {
        attachments: [],
        leases: [],
        repairs: 0,
        linksLost: 0,
        linksAltered: 0,
        policies: { policies: 0, problems: [] },
      },
    hasServices: async (folder, checkedFolders) =>
      (await ask({ do: 'has-services', folder, checkedFolders })).hasServices === true,
    linkState: async (id) => (await ask({ do: 'link-state', id })).linkState,
    alterations: async () => (await ask({ do: 'alterations' })).alterations ?? [],
    async status() {
      const said = await latest.about('', undefined);
      const hangs = unansweredSince !== undefined && now() - unansweredSince >= hungMs;
      return said !== undefined && !hangs
        ? said.word
        : failed(
            'the network thread has not answered for 30 s; check the load of the machine, and the disk of `root`',
          );
    },
  };
}
