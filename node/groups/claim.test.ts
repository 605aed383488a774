import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import { openEtcd } from '../../cni-plugins/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import { etcdTool, eventually, startEtcdMembers } from '../../test/fixtures/etcd.ts';
import type { EtcdMember } from '../../test/fixtures/etcd.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import { agentIdentity, agentKey, claimName } from './claim.ts';
import { joinGroups } from './member.ts';
import type { Member } from './member.ts';
import { memberWrites } from './member-writes.ts';
import { applyGroup, listGroups } from './operate.ts';

describe('the name of a node', { skip: etcdTool.skip, timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-node-claim-'));
  const group: Parameters<typeof applyGroup>[1] = {
    name: 'web',
    selector: { names: ['n1'] },
    rollout: {
      maxUnavailable: 1,
      pauseSeconds: 0,
      deadlineSeconds: 60,
      gate: { healthySeconds: 0, daemonReady: false },
    },
    state: stateWithDefaults({ sysctls: { 'net.ipv4.ip_default_ttl': 70 } }, []),
  };
  let members: EtcdMember[] = [];
  let client: EtcdClient;
  const open = (): EtcdClient => openEtcd({ endpoints: members.map(({ endpoint }) => endpoint) });
  before(async () => {
    members = startEtcdMembers({ folder, port: 2379 });
    client = open();
    await eventually('etcd answers', async () => (await client.list('/')).pairs.length === 0);
    await applyGroup(client, group);
  });
  after(async () => {
    client.close();
    for (const member of members) await member.end();
    rmSync(folder, { recursive: true });
  });

  const agent = (
    t: TestContext,
    identity: string,
  ): { readonly member: Member; readonly applied: () => number } => {
    let applied = 0;
    const member = joinGroups({
      ...{ client: open(), name: 'n1', identity, labels: {}, leaseSeconds: 5 },
      log: createLogger({ level: 'silent' }),
      node: {
        desired: () => undefined,
        convergedSince: () => undefined,
        problem: () => 'it never converges',
        daemonProblem: () => Promise.resolve(undefined),
        refuses: () => undefined,
        apply: () => {
          applied += 1;
          return Promise.resolve();
        },
      },
    });
    t.after(() => member.close());
    return { member, applied: () => applied };
  };

  it('belongs to one agent: a second one changes nothing and is refused', async (t) => {
    const first = agent(t, 'a');
    await eventually('the first has a place', async () => {
      const [group] = await listGroups(client, 'web');
      return group?.nodes.some(({ phase }) => phase === 'changing') === true && first.applied() > 0;
    });
    const second = agent(t, 'b');
    await eventually('the second is refused', () =>
      Promise.resolve(/NODE_NAME_TAKEN/u.test(second.member.status())),
    );
    assert.equal((await second.member.refused).code, 'NODE_NAME_TAKEN');
    assert.equal(second.applied(), 0);
    assert.equal((await client.get(agentKey('n1')))?.value.toString(), 'a');
    second.member.close();
    first.member.close();
    await eventually('the lease has ended', async () => (await client.get(agentKey('n1'))) === undefined);
  });

  it('passes to the next process of the same agent at once, and the previous process can no longer write', async () => {
    const [lease, next] = [await client.grant(60), await client.grant(60)];
    const before = await claimName(client, { name: 'n2', identity: 'a', lease });
    const now = await claimName(client, { name: 'n2', identity: 'a', lease: next });
    const writesOf = (claim: typeof now): ReturnType<typeof memberWrites> =>
      memberWrites({ client, name: 'n2', labels: {}, claim, revision: () => '' });
    assert.equal(await writesOf(before).register('web', () => undefined), false);
    assert.equal(await writesOf(now).register('web', () => undefined), true);
    await assert.rejects(claimName(client, { name: 'n2', identity: 'b', lease }), {
      code: 'NODE_NAME_TAKEN',
    });
  });

  it('is claimed again when its key was deleted while the lease lives', async (t) => {
    const { member } = agent(t, 'a');
    await eventually('it has the name', async () => (await client.get(agentKey('n1'))) !== undefined);
    assert.ok(await client.transact([], [{ deleteRange: { key: agentKey('n1') } }]));
    // A new attempt makes it write.
    await applyGroup(client, { ...group, rollout: { ...group.rollout, deadlineSeconds: 61 } });
    await eventually(`it has the name again: ${member.status()}`, async () => {
      const [web] = await listGroups(client, 'web');
      const isChanging = web?.nodes.some(({ phase }) => phase === 'changing') === true;
      return isChanging && (await client.get(agentKey('n1')))?.value.toString() === 'a';
    });
  });

  it('depends on the folder: the same folder is the same agent', () => {
    const [one, other] = [join(folder, 'one'), join(folder, 'other')];
    for (const each of [one, other]) mkdirSync(each);
    assert.equal(agentIdentity(one), agentIdentity(one));
    assert.notEqual(agentIdentity(one), agentIdentity(other));
  });
});
