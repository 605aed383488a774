import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { openEtcd } from '../../cni-plugins/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import { etcdTool, eventually, startEtcdMembers } from '../../test/fixtures/etcd.ts';
import type { EtcdMember } from '../../test/fixtures/etcd.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import type { NodeGroup } from '../document/read.ts';
import { agentKey } from './claim.ts';
import { applyGroup, forgetNode, listGroups, removeGroup, resumeGroup, rollBackGroup } from './operate.ts';
import { nodePrefix, placePrefix, revisionKey, revisionPrefix, specKey, writeRecord } from './records.ts';

const group = (ttl: number): NodeGroup => ({
  name: 'web',
  selector: { names: ['n1'] },
  rollout: {
    maxUnavailable: 1,
    pauseSeconds: 0,
    deadlineSeconds: 60,
    gate: { healthySeconds: 0, daemonReady: false },
  },
  state: stateWithDefaults({ sysctls: { 'net.ipv4.ip_default_ttl': ttl } }, []),
});

describe('commands for a group', { skip: etcdTool.skip, timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-node-groups-'));
  let members: EtcdMember[] = [];
  let client: EtcdClient;
  const put = (key: string, value: Buffer): Promise<boolean> =>
    client.transact([], [{ put: { key, value } }]);
  const ready = (generation: number, revision: string): Promise<boolean> =>
    put(
      `${nodePrefix('web')}n1`,
      writeRecord({ generation, attempt: 1, revision, phase: 'ready', labels: {}, at: 'now' }),
    );
  before(async () => {
    members = startEtcdMembers({ folder, port: 2379 });
    client = openEtcd({ endpoints: members.map(({ endpoint }) => endpoint) });
    await eventually('etcd answers', async () => (await client.list('/')).pairs.length === 0);
  });
  after(async () => {
    client.close();
    for (const member of members) await member.end();
    rmSync(folder, { recursive: true });
  });

  it('do not overwrite each other if they run at the same time', async () => {
    const all = await Promise.allSettled([70, 71, 72, 73].map((ttl) => applyGroup(client, group(ttl))));
    const won = all.filter(({ status }) => status === 'fulfilled').length;
    for (const one of all)
      if (one.status === 'rejected')
        assert.ok(
          isPortcullisError(one.reason) && one.reason.code === 'NODE_GROUP_CHANGED',
          String(one.reason),
        );
    const [listed] = await listGroups(client, 'web');
    assert.equal(listed?.generation, won);
    assert.ok(await client.get(revisionKey('web', listed.revision)), 'the state that the nodes get is there');
  });

  it('say what to do about a state that is too large for etcd', async () => {
    for (const mebibytes of [1.6, 3]) {
      const sysctls = { 'kernel.hostname': 'x'.repeat(mebibytes * 1024 * 1024) };
      const large = { ...group(70), name: 'large', state: stateWithDefaults({ sysctls }, []) };
      await assert.rejects(applyGroup(client, large), (thrown) => {
        assert.ok(isPortcullisError(thrown) && thrown.failure.kind === 'invalid', String(thrown));
        assert.match(thrown.failure.fix, /smaller/u);
        return true;
      });
    }
  });

  it('change nothing when nothing is different, and keep only the states that can still be requested', async () => {
    const first = await applyGroup(client, group(80));
    await ready(first.generation, first.revision);
    assert.deepEqual(await applyGroup(client, group(80)), first);
    const second = await applyGroup(client, group(81));
    assert.equal(second.stable, first.revision);
    const third = await applyGroup(client, group(82));
    assert.equal(third.stable, first.revision, 'the second one was never complete');
    const { pairs } = await client.list(revisionPrefix('web'), { keysOnly: true });
    assert.deepEqual(
      pairs.map(({ key }) => key.slice(revisionPrefix('web').length)).toSorted(),
      [first.revision, third.revision].toSorted(),
    );
  });

  it('store a state again that etcd has lost or that is damaged, and let its nodes try again', async () => {
    const { revision, attempt } = await applyGroup(client, group(82));
    const key = revisionKey('web', revision);
    const intact = (await client.get(key))?.value.toString();
    await client.transact([], [{ deleteRange: { key } }]);
    assert.equal((await applyGroup(client, group(82))).attempt, attempt + 1);
    assert.equal((await client.get(key))?.value.toString(), intact);
    await put(key, Buffer.from('{}'));
    const again = await applyGroup(client, group(82));
    assert.equal(again.attempt, attempt + 2);
    assert.equal((await client.get(key))?.value.toString(), intact);
    assert.deepEqual(await applyGroup(client, group(82)), again);
    // The other tests expect the first attempt.
    await put(specKey('web'), writeRecord({ ...again, attempt }));
  });

  it('resume a rollout as another attempt, and return to the last complete state', async () => {
    const resumed = await resumeGroup(client, 'web');
    assert.equal(resumed.attempt, 2);
    const back = await rollBackGroup(client, 'web');
    assert.deepEqual([back.revision, back.attempt], [resumed.stable, 1]);
    await assert.rejects(rollBackGroup(client, 'web'), { code: 'NODE_GROUP_UNKNOWN' });
  });

  it('remove a node that no longer exists, after which the group is complete', async () => {
    const wanted: NodeGroup = { ...group(95), selector: { names: ['n1', 'dead'], labels: { role: 'web' } } };
    const first = await applyGroup(client, wanted);
    await ready(first.generation, first.revision);
    const lost = (name: string, phase: 'changing' | 'ready'): Promise<boolean> =>
      put(
        `${nodePrefix('web')}${name}`,
        writeRecord({ ...first, phase, labels: { role: 'web' }, at: 'now' }),
      );
    await lost('dead', 'changing');
    await lost('old', 'ready');
    await put(`${placePrefix('web')}outside`, Buffer.from('1'));
    assert.equal((await listGroups(client, 'web'))[0]?.halted?.node, 'dead');

    await put(agentKey('dead'), Buffer.from('agent'));
    await assert.rejects(forgetNode(client, 'web', 'dead'), { code: 'NODE_NAME_TAKEN' });
    await client.transact([], [{ deleteRange: { key: agentKey('dead') } }]);
    for (const name of ['dead', 'old', 'outside']) await forgetNode(client, 'web', name);
    await assert.rejects(forgetNode(client, 'web', 'dead'), { code: 'NODE_GROUP_UNKNOWN' });
    await assert.rejects(forgetNode(client, 'nothing', 'n1'), { code: 'NODE_GROUP_UNKNOWN' });

    const [listed] = await listGroups(client, 'web');
    assert.equal(listed?.state, 'complete');
    assert.deepEqual([listed.generation, listed.nodes.map(({ name }) => name)], [first.generation, ['n1']]);
    const { pairs } = await client.list('/portcullis/node-groups/', { keysOnly: true });
    assert.deepEqual(
      pairs.map(({ key }) => key),
      [`${nodePrefix('web')}n1`, specKey('web')],
    );
    const second = await applyGroup(client, { ...wanted, ...group(96) });
    assert.equal(second.stable, first.revision);
  });

  it('list a group whose specification cannot be read, and say what to do', async () => {
    await put(specKey('web'), Buffer.from('{'));
    for (const name of [undefined, 'web']) {
      const listed = await listGroups(client, name);
      assert.deepEqual(
        listed.map(({ group: one, state }) => [one, state]),
        [['web', 'unreadable']],
      );
    }
    await assert.rejects(resumeGroup(client, 'web'), (thrown) => {
      assert.ok(isPortcullisError(thrown) && thrown.code === 'NODE_GROUP_INVALID', String(thrown));
      assert.match(thrown.failure.fix, /apply the group again/u);
      return true;
    });
  });

  it('replace a specification that cannot be read by one that no record of a node is about', async () => {
    const record = { attempt: 1, revision: '', phase: 'failed', labels: {}, at: 'now' };
    await put(`${nodePrefix('web')}n1`, writeRecord({ ...record, generation: 1 }));
    await applyGroup(client, group(89));
    const [listed] = await listGroups(client, 'web');
    assert.deepEqual([listed?.state, listed?.halted], ['progressing', undefined]);
    await put(specKey('web'), Buffer.from('{'));
  });

  it('replace a specification that cannot be read, and remove everything of a group', async () => {
    await applyGroup(client, group(90));
    await removeGroup(client, 'web');
    assert.deepEqual((await client.list('/portcullis/')).pairs, []);
    await assert.rejects(listGroups(client, 'web'), { code: 'NODE_GROUP_UNKNOWN' });
  });
});
