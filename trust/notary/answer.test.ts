import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createHttpServer, createPeerShares } from '../../base/connections/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { answerRequest } from './answer.ts';
import type { AnswerContext } from './answer.ts';
import { createCollections } from './collections.ts';
import type { Collections } from './collections.ts';
import { createHeldFiles } from './held-files.ts';
import { createJudge } from './upload-judge.ts';
import { openKeyVault } from './key-vault.ts';
import { createServiceMetrics } from './metrics.ts';
import { openTrustStore } from './store.ts';
import type { Change, TrustStore } from './store.ts';

const feed = '/v2/a/_trust/changefeed?records=100';
const change: Change = { id: 1, at: 1, gun: 'a', version: 1, sha256: 'a'.repeat(64), category: 'update' };

/** Each component that an answer needs fails in turn. Only the connection of the request may notice. */
describe('an answer that fails', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-answer-'));
  const judge = createJudge();
  const failures: string[] = [];
  let store: TrustStore;
  let context: AnswerContext;
  before(async () => {
    store = await openTrustStore(folder);
    const vault = await openKeyVault(store, join(folder, 'service.key'));
    context = {
      ...{
        collections: createCollections(store, vault, judge, Date.now),
        store,
        metrics: createServiceMetrics(),
        guard: undefined,
      },
      ...{
        prefixes: [],
        limits: { bytes: 1024, parts: 2 },
        memory: { uploads: createPeerShares(4096), files: createHeldFiles(4096) },
        longReads: createKeyedQueue(),
        onFailure: (error) => failures.push(error.message),
      },
    };
  });
  after(async () => {
    await judge.close();
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Returns the status of one request, or whether the answer itself was ever rejected. */
  async function statusWith(
    changes: Partial<AnswerContext>,
    path = '/v2/a/_trust/tuf/root.json',
  ): Promise<number | 'no answer'> {
    const rejected: unknown[] = [];
    const server = createHttpServer((request, response) => {
      answerRequest({ ...context, ...changes }, request, response).catch((thrown: unknown) =>
        rejected.push(thrown),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const status = await fetch(`http://127.0.0.1:${port}${path}`, {
        signal: AbortSignal.timeout(30_000),
      }).then(
        async (answer) => {
          await answer.arrayBuffer();
          return answer.status;
        },
        () => 'no answer' as const,
      );
      assert.deepEqual(rejected, []);
      return status;
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  const broken = (): never => {
    throw new Error('it is broken');
  };

  it('because a header cannot be sent is a 500 without that header', async () => {
    failures.length = 0;
    for (const challenge of ['a\nb', 'scope="\u20ac"', '\u0000'])
      assert.equal(await statusWith({ guard: () => Promise.resolve(challenge) }), 500);
    assert.equal(failures.length, 3);
    assert.match(failures[0] ?? '', /GET \/v2\/a\/_trust\/tuf\/root\.json/u);
  });

  it('because a guard, a store or a collection throws is a 500', async () => {
    assert.equal(await statusWith({ guard: () => Promise.reject(new Error('it is broken')) }), 500);
    assert.equal(await statusWith({ guard: broken }), 500);
    assert.equal(
      await statusWith({
        collections: { ...context.collections, read: () => Promise.reject(new Error('it is broken')) },
      }),
      500,
    );
    assert.equal(await statusWith({ collections: { ...context.collections, read: broken } }), 500);
    assert.equal(
      await statusWith({ store: { ...store, changes: broken } }, '/v2/_trust/changefeed?records=1'),
      500,
    );
    assert.equal(await statusWith({ store: { ...store, flaw: broken } }, '/_notary_server/health'), 500);
    assert.equal(await statusWith({ metrics: { ...context.metrics, render: broken } }, '/metrics'), 500);
  });

  it('because no memory is left for a changefeed is a 503', async () => {
    const changes = async (): Promise<Change[]> => Array.from({ length: 100 }, () => change);
    const memory = { ...context.memory, files: createHeldFiles(4096) };
    assert.equal(await statusWith({ store: { ...store, changes }, memory }, feed), 503);
    assert.equal(await statusWith({ store: { ...store, changes: async () => [change] }, memory }, feed), 200);
  });

  it('never comes from a second changefeed of the same address that is read at the same time', async () => {
    let [now, most] = [0, 0];
    const changes = async (): Promise<Change[]> => {
      most = Math.max(most, (now += 1));
      await pause(5);
      now -= 1;
      return [change];
    };
    const answers = Array.from({ length: 8 }, () => statusWith({ store: { ...store, changes } }, feed));
    assert.deepEqual(new Set(await Promise.all(answers)), new Set([200]));
    assert.equal(most, 1);
  });

  it('never comes from a second earlier version of the same address that is read at the same time', async () => {
    let [now, most] = [0, 0];
    const read: Collections['read'] = async () => {
      most = Math.max(most, (now += 1));
      await pause(5);
      now -= 1;
      return undefined;
    };
    const collections = { ...context.collections, read };
    const statusOf = (file: string): Promise<number | 'no answer'> =>
      statusWith({ collections }, `/v2/a/_trust/tuf/${file}`);
    const named = [
      '1.root.json',
      '2.root.json',
      `root.${'a'.repeat(64)}.json`,
      `root.${'b'.repeat(128)}.json`,
    ];
    assert.deepEqual(await Promise.all(named.map(statusOf)), [404, 404, 404, 404]);
    assert.equal(most, 1);
  });

  it('never comes from a second read of the store for the same address at the same time', async () => {
    let [now, most] = [0, 0];
    const read: Collections['read'] = async () => {
      most = Math.max(most, (now += 1));
      await pause(5);
      now -= 1;
      return undefined;
    };
    const ask = async (isInMemory: boolean): Promise<number> => {
      most = 0;
      const collections = { ...context.collections, read, isInMemory: () => isInMemory };
      const paths = Array.from({ length: 8 }, (_, index) => `/tuf/${index}/timestamp.json`);
      await Promise.all(paths.map((path) => statusWith({ collections }, path)));
      return most;
    };
    assert.equal(await ask(false), 1);
    assert.ok((await ask(true)) > 1);
  });

  it('because no memory is left for the stored files of a publish is a 503', async () => {
    const refusal = await context.collections.publish('a', { notary: [] }, { reserve: () => false });
    assert.equal(refusal?.refused, 'UNAVAILABLE');
  });

  it('in an observer does not change the answer', async () => {
    assert.equal(await statusWith({ metrics: { ...context.metrics, observe: broken } }), 404);
    assert.equal(await statusWith({ onFailure: broken, guard: broken }), 500);
  });
});
