import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { answerInTime } from './answer-in-time.ts';
import type { AnswerContext } from './answer.ts';

const minutes = (count: number): number => count * 60_000;

/** Sends one request whose turn and whose answer come when the test says so. */
async function ask(t: TestContext): Promise<{
  readonly turn: () => Promise<void>;
  readonly answer: () => void;
  readonly outcome: Promise<number | 'no answer'>;
}> {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const [taken, come, guarded] = [
    Promise.withResolvers<void>(),
    Promise.withResolvers<void>(),
    Promise.withResolvers<string>(),
  ];
  const asked = Promise.withResolvers<void>();
  const context = {
    guard: () => {
      asked.resolve();
      return guarded.promise;
    },
    prefixes: [],
    metrics: { observe: () => undefined },
  } as unknown as AnswerContext;
  const turns = {
    take: () => {
      come.resolve();
      return taken.promise;
    },
  };
  const server = createHttpServer(
    (request, response) => void answerInTime(context, turns, undefined, request, response),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const outcome = fetch(`http://127.0.0.1:${port}/v2/a/_trust/tuf/root.json`).then(
    ({ status }) => status,
    () => 'no answer' as const,
  );
  await come.promise;
  return {
    turn: () => {
      taken.resolve();
      return asked.promise;
    },
    answer: () => guarded.resolve('Bearer realm="a"'),
    outcome,
  };
}

it('a request is answered however long it waited for its turn', async (t) => {
  const { turn, answer, outcome } = await ask(t);
  t.mock.timers.tick(minutes(9));
  await turn();
  t.mock.timers.tick(minutes(9));
  answer();
  assert.equal(await outcome, 401);
});

it('a request whose answer is not ready ten minutes after its turn ends with its connection', async (t) => {
  const { turn, outcome } = await ask(t);
  await turn();
  t.mock.timers.tick(minutes(10));
  assert.equal(await outcome, 'no answer');
});
