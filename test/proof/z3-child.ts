/**
 * Z3 in a separate process, which its owner may end: see `z3.ts`. Each message has one question; answers come
 * in order.
 */
import { openSession } from './z3-session.ts';
import type { Session } from './z3-session.ts';

export type Question = Parameters<Session['difference']>;
export type Answer =
  | { readonly model: Awaited<ReturnType<Session['difference']>> }
  | { readonly failed: string };

const session = openSession();
let before: Promise<unknown> = session;
process.on('message', (question: Question) => {
  before = before
    .then(async () => (await session).difference(...question))
    .then(
      (model): Answer => ({ model }),
      (error: unknown): Answer => ({ failed: String(error) }),
    )
    .then((answer) => process.send?.(answer));
});
process.on('disconnect', () => process.exit());
