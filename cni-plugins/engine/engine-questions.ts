import type { NetworkEngine } from '../types.ts';
import type { Joining } from './joining.ts';
import { engineLost } from './thread/engine-thread.ts';
import type { Answer, Call } from './thread/protocol.ts';

/** The queries that the engine answers without changing an attachment. */
export type EngineQuestions = Pick<
  NetworkEngine,
  'denials' | 'explain' | 'figures' | 'hasServices' | 'linkState' | 'alterations' | 'status'
>;

/** @param ask calls the engine's thread */
export function createEngineQuestions(
  ask: (call: Call) => Promise<Answer>,
  joining: Pick<Joining, 'status'>,
): EngineQuestions {
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
      try {
        const status = await joining.status();
        if (status !== undefined) return status;
        throw engineLost('the answer holds no status', 'report this with the daemon log');
      } catch (thrown) {
        return {
          ready: false,
          reason: 'NetworkEngineFailed',
          message: thrown instanceof Error ? thrown.message : String(thrown),
          networks: [],
        };
      }
    },
  };
}
