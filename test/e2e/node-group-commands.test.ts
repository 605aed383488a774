import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openEtcd } from '../../cni-plugins/index.ts';
import { nodePrefix, writeRecord } from '../../node/groups/records.ts';
import { portcullis } from '../fixtures/command.ts';
import { etcdTool, eventually, startEtcdMembers } from '../fixtures/etcd.ts';

test(
  'node group rollback and resume print the revision and the generation to which the group changes',
  { skip: etcdTool.skip, timeout: 240_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-node-group-'));
    const members = startEtcdMembers({ folder, port: 2379 });
    const endpoints = members.map(({ endpoint }) => endpoint);
    const client = openEtcd({ endpoints });
    t.after(async () => {
      client.close();
      for (const member of members) await member.end();
      rmSync(folder, { recursive: true });
    });
    await eventually('etcd answers', async () => (await client.list('/')).pairs.length === 0);
    const group = async (...words: readonly string[]): Promise<string> => {
      const done = await portcullis(['node', 'group', ...words, '--etcd', endpoints[0] ?? '']);
      assert.equal(done.code, 0, done.stderr);
      return done.stdout;
    };
    const file = join(folder, 'web.yaml');
    const apply = (ttl: number): Promise<string> => {
      writeFileSync(
        file,
        `apiVersion: portcullis.dev/v1alpha1\nkind: NodeGroup\nmetadata: { name: web }\nselector: { names: [n1] }\ntemplate:\n  sysctls: { net.ipv4.ip_default_ttl: ${ttl} }\n`,
      );
      return group('apply', '-f', file);
    };
    const first = await apply(70);
    const [, revision = ''] = /^web changes to ([0-9a-f]{12}), generation 1$/mu.exec(first) ?? [];
    const [listed] = JSON.parse(
      await portcullis(['node', 'group', 'status', '-o', 'json', '--etcd', endpoints[0] ?? '']).then(
        ({ stdout }) => stdout,
      ),
    ) as { readonly revision: string }[];
    const record = { generation: 1, attempt: 1, revision: listed?.revision ?? '', phase: 'ready' } as const;
    const value = writeRecord({ ...record, labels: {}, at: 'now' });
    await client.transact([], [{ put: { key: `${nodePrefix('web')}n1`, value } }]);
    const second = await apply(71);
    assert.match(second, /, generation 2$/mu);
    assert.equal(await group('resume', 'web'), second);
    assert.equal(await group('rollback', 'web'), `web returns to ${revision}, generation 3\n`);
    assert.equal(await group('rm', 'web'), 'web is forgotten\n');
  },
);
