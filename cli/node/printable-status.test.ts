import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openEtcd } from '../../cni-plugins/index.ts';
import { portcullis } from '../../test/fixtures/command.ts';
import { etcdTool, eventually, startEtcdMembers } from '../../test/fixtures/etcd.ts';

/** A reason that clears the screen of a terminal and writes another status. */
const hostile = 'x\u001b[2J\nweb: complete\u009b1m';

test(
  'node group status prints no control character of a name or a reason',
  { skip: etcdTool.skip },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-group-status-'));
    const members = startEtcdMembers({ folder, port: 2379 });
    const endpoints = members.map(({ endpoint }) => endpoint);
    const client = openEtcd({ endpoints });
    t.after(async () => {
      client.close();
      for (const member of members) await member.end();
      rmSync(folder, { recursive: true });
    });
    await eventually('etcd answers', async () => (await client.list('/')).pairs.length === 0);
    const revision = '0'.repeat(64);
    const counts = { generation: 1, attempt: 1, revision };
    const rollout = {
      ...{ maxUnavailable: 1, pauseSeconds: 0, deadlineSeconds: 1 },
      gate: { healthySeconds: 0, daemonReady: false },
    };
    const spec = { ...counts, selector: { labels: {} }, rollout };
    const record = { ...counts, phase: 'failed', why: hostile, labels: {}, at: 'now' };
    const put = (key: string, value: object) => ({
      put: { key: `/portcullis/node-groups/web/${key}`, value: Buffer.from(JSON.stringify(value)) },
    });
    await client.transact([], [put('spec', spec), put('nodes/n1\n\u001b[2J', record)]);
    const { stdout, code } = await portcullis(['node', 'group', 'status', 'web', '--etcd', endpoints.join()]);
    assert.equal(code, 1);
    assert.match(stdout, /^web: halted by n1\?\?\[2J: x\?\[2J\?web: complete\?1m;/u);
    assert.doesNotMatch(stdout.replaceAll('\n', ''), /\p{Cc}/u);
  },
);

test('node status prints no control character of a reason', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-node-status-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'node.yaml');
  writeFileSync(file, 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n');
  await portcullis(['node', 'apply', '--file', file, '--state', folder]);
  const path = join(folder, 'status.json');
  const status = JSON.parse(readFileSync(path, 'utf8')) as { readonly sections: readonly object[] };
  const failures = [{ item: 'a', why: hostile, attempts: 1 }];
  const sections = status.sections.map((section) => ({ ...section, failures }));
  writeFileSync(path, JSON.stringify({ ...status, sections, group: hostile, problem: hostile }));
  const { stdout } = await portcullis(['node', 'status', '--state', folder]);
  assert.match(stdout, /^group: x\?\[2J\?web: complete\?1m$/mu);
  assert.match(stdout, /^sysctls a: x\?\[2J/mu);
  assert.doesNotMatch(stdout.replaceAll('\n', ''), /\p{Cc}/u);
});
