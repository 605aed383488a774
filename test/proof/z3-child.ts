/** Z3 in a process of its own, which whoever started it may end: see `z3.ts`. One question a message, answered in order. */
import { openSession } from './z3-session.ts';
import type { Session } from './z3-session.ts';

export type Question = Parameters<Session['difference']>;
export type Answer = { readonly model: Awaited<ReturnType<Session['difference']>> } | { readonly failed: string };

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
