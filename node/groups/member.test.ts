import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { openEtcd } from '../../cni-plugins/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import { etcdTool, eventually, startEtcdMembers } from '../../test/fixtures/etcd.ts';
import type { EtcdMember } from '../../test/fixtures/etcd.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import type { NodeSelector } from '../document/read.ts';
import type { DesiredState } from '../store/node-files.ts';
import { joinGroups } from './member.ts';
import type { MemberNode } from './member.ts';
import { applyGroup, listGroups } from './operate.ts';
import type { ListedGroup } from './operate.ts';
import { nodePrefix, revisionPrefix, writeRecord } from './records.ts';
import type { NodeRecord } from './records.ts';

describe('a node that changes with its group', { skip: etcdTool.skip, timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-node-member-'));
  let members: EtcdMember[] = [];
  let client: EtcdClient;
  const open = (): EtcdClient => openEtcd({ endpoints: members.map(({ endpoint }) => endpoint) });
  before(async () => {
    members = startEtcdMembers({ folder, port: 2379 });
    client = open();
    await eventually('etcd answers', async () => (await client.list('/')).pairs.length === 0);
  });
  after(async () => {
    client.close();
    for (const member of members) await member.end();
    rmSync(folder, { recursive: true });
  });

  const applyTo = (
    name: string,
    selector: NodeSelector,
    deadlineSeconds: number,
    ttl = 70,
  ): Promise<unknown> =>
    applyGroup(client, {
      ...{ name, selector },
      rollout: {
        ...{ maxUnavailable: 1, pauseSeconds: 0, deadlineSeconds },
        gate: { healthySeconds: 0, daemonReady: false },
      },
      state: stateWithDefaults({ sysctls: { 'net.ipv4.ip_default_ttl': ttl } }, []),
    });

  interface Joined {
    readonly listed: () => Promise<ListedGroup | undefined>;
    readonly hasState: () => Promise<boolean>;
    readonly leave: () => void;
  }

  /** Applies a group of one node, whose agent runs until the test ends. */
  async function joinAlone(
    t: TestContext,
    name: string,
    deadlineSeconds: number,
    node: Partial<MemberNode>,
  ): Promise<Joined> {
    await applyTo(name, { names: [name] }, deadlineSeconds);
    return joinAs(t, name, {}, node);
  }

  /** Starts the agent of a node, which runs until the test ends. */
  function joinAs(
    t: TestContext,
    name: string,
    labels: Readonly<Record<string, string>>,
    node: Partial<MemberNode>,
    own = open(),
  ): Joined {
    let desired: DesiredState | undefined;
    const member = joinGroups({
      ...{ client: own, name, identity: name, labels, leaseSeconds: 5 },
      log: createLogger({ level: 'silent' }),
      node: {
        desired: () => desired,
        convergedSince: () => undefined,
        problem: () => undefined,
        daemonProblem: () => Promise.resolve(undefined),
        refuses: () => undefined,
        apply: (next) => Promise.resolve(void (desired = next)),
        ...node,
      },
    });
    t.after(() => member.close());
    return {
      listed: async () => (await listGroups(client, name))[0],
      hasState: () => Promise.resolve(desired !== undefined),
      leave: () => member.close(),
    };
  }

  it('makes itself known once, however late etcd reports its record', async (t) => {
    const late = Promise.withResolvers<undefined>();
    t.after(() => late.resolve(undefined));
    const own = open();
    async function* held<T extends { readonly events: readonly unknown[] }>(answers: AsyncIterable<T>) {
      for await (const each of answers) {
        if (each.events.length > 0) await late.promise;
        yield each;
      }
    }
    const watch: EtcdClient['watch'] = (...asked) => {
      const stream = own.watch(...asked);
      return { ...stream, answers: held(stream.answers) };
    };
    let looks = 0;
    const desired = (): undefined => void (looks += 1);
    await applyTo('late', { names: ['late'] }, 60);
    joinAs(t, 'late', {}, { desired }, { ...own, watch });
    const record = () => client.get(`${nodePrefix('late')}late`);
    await eventually('the node is known', async () => (await record()) !== undefined);
    const before = looks;
    await eventually('the node looks again and again', () => Promise.resolve(looks >= before + 6));
    const { createRevision, modRevision } = (await record()) ?? {};
    assert.equal(modRevision, createRevision);
  });

  it(
    'halts the rollout at its deadline if it cannot store the state, and says why',
    { timeout: 20_000 },
    async (t) => {
      const { listed } = await joinAlone(t, 'full', 2, {
        apply: () => Promise.reject(new Error('ENOSPC: no space left on device')),
      });
      await eventually('the rollout is halted', async () => (await listed())?.state === 'halted');
      const { why = '' } = (await listed())?.halted ?? {};
      assert.match(why, /not healthy within 2 s: .*ENOSPC/u);
    },
  );

  it(
    'does not halt a rollout that replaces its own while it reads the former state',
    { timeout: 60_000 },
    async (t) => {
      const selector = { names: ['raced'] };
      await applyTo('raced', selector, 60);
      const own = open();
      let isReplaced = false;
      const get: EtcdClient['get'] = async (key) => {
        if (key.startsWith(revisionPrefix('raced')) && !isReplaced) {
          isReplaced = true;
          // The former state is removed, because no node has had it.
          await applyTo('raced', selector, 60, 71);
          await sleep(1000);
        }
        return own.get(key);
      };
      const node = { convergedSince: () => performance.now() };
      const { listed } = joinAs(t, 'raced', {}, node, { ...own, get });
      await eventually('it is ready or halted', async () => {
        const state = isReplaced ? (await listed())?.state : undefined;
        return state === 'complete' || state === 'halted';
      });
      assert.equal((await listed())?.halted, undefined);
    },
  );

  it('is not late only because its clock is set', { timeout: 20_000 }, async (t) => {
    let isHealthy = false;
    const { listed, hasState } = await joinAlone(t, 'clock', 60, {
      convergedSince: () => (isHealthy ? performance.now() : undefined),
    });
    await eventually('it changes', hasState);
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 24 * 3_600_000 });
    await sleep(2000);
    assert.equal((await listed())?.nodes[0]?.phase, 'changing');
    isHealthy = true;
    await eventually('it is ready', async () => (await listed())?.state === 'complete');
  });

  it('gets the state of its group again after its disk was replaced', { timeout: 20_000 }, async (t) => {
    const node = { convergedSince: () => performance.now() };
    const isComplete = async ({
      listed,
      hasState,
    }: Awaited<ReturnType<typeof joinAlone>>): Promise<boolean> =>
      (await hasState()) && (await listed())?.state === 'complete';
    const first = await joinAlone(t, 'disk', 60, node);
    await eventually('it is ready', () => isComplete(first));
    first.leave();
    const second = await joinAlone(t, 'disk', 60, node);
    await eventually('it is ready again', () => isComplete(second));
  });

  it('leaves its group when it gets other labels', { timeout: 60_000 }, async (t) => {
    await applyTo('moves', { labels: { role: 'web' } }, 60);
    const first = joinAs(t, 'moving', { role: 'web' }, {});
    await eventually('it changes', first.hasState);
    first.leave();
    joinAs(t, 'moving', { role: 'db' }, {});
    await eventually('it left', async () => {
      const moves = (await listGroups(client, 'moves'))[0];
      return moves?.nodes.length === 0 && moves.halted === undefined;
    });
  });

  it(
    'follows its new group although etcd does not let it remove its former record',
    { timeout: 60_000 },
    async (t) => {
      await applyTo('former', { labels: { tier: 'one' } }, 60);
      const first = joinAs(t, 'renamed', { tier: 'one' }, { convergedSince: () => performance.now() });
      await eventually(
        'it is ready',
        async () => (await listGroups(client, 'former'))[0]?.state === 'complete',
      );
      first.leave();
      await applyTo('new', { labels: { tier: 'two' } }, 60);
      const own = open();
      const transact: EtcdClient['transact'] = (conditions, steps) =>
        JSON.stringify(steps).includes(`${nodePrefix('former')}renamed`)
          ? Promise.reject(new Error('etcdserver: permission denied'))
          : own.transact(conditions, steps);
      const second = joinAs(t, 'renamed', { tier: 'two' }, {}, { ...own, transact });
      await eventually('it changes', second.hasState);
    },
  );

  it('says that another group selects it too, and halts its group', { timeout: 60_000 }, async (t) => {
    const { listed, hasState } = await joinAlone(t, 'twice', 60, {});
    await eventually('it changes', hasState);
    await applyTo('second', { names: ['twice'] }, 60);
    await eventually('the rollout is halted', async () => (await listed())?.state === 'halted');
    assert.match((await listed())?.halted?.why ?? '', /twice select this node|second select this node/u);
  });

  it('says why its change lasts, and still since when it changes', { timeout: 20_000 }, async (t) => {
    const { listed, hasState } = await joinAlone(t, 'slow', 600, { problem: () => 'no image' });
    await eventually('it changes', hasState);
    const key = `${nodePrefix('slow')}slow`;
    const written = async (): Promise<NodeRecord> =>
      JSON.parse(String((await client.list(key)).pairs[0]?.value)) as NodeRecord;
    const at = new Date(Date.now() - 60_000).toISOString();
    await client.transact([], [{ put: { key, value: writeRecord({ ...(await written()), at }) } }]);
    await eventually('it says why', async () => (await listed())?.nodes[0]?.why === 'no image');
    assert.deepEqual([(await written()).at, (await written()).phase], [at, 'changing']);
  });

  it('is late although its clock is set back', { timeout: 20_000 }, async (t) => {
    const { listed, hasState } = await joinAlone(t, 'back', 3, {});
    await eventually('it changes', hasState);
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() - 24 * 3_600_000 });
    await eventually('the rollout is halted', async () => (await listed())?.state === 'halted');
  });
});
