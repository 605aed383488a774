import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { portcullis } from '../../test/fixtures/command.ts';

test('node apply --dry-run fails when a section could not be read: the plan is incomplete', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-node-apply-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'node.yaml');
  const places = ['--state', join(folder, 'state'), '--socket', join(folder, 'none.sock')];
  const plan = (): ReturnType<typeof portcullis> =>
    portcullis(['node', 'apply', '--dry-run', '--file', file, ...places]);

  const head = 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n';
  writeFileSync(file, `${head}images:\n  - { image: registry.example.com/app:1 }\n`);
  const unread = await plan();
  assert.match(unread.stderr, /^images: .*none\.sock/mu);
  assert.match(unread.stdout, /the plan is incomplete/u);
  assert.equal(unread.code, 4);

  writeFileSync(file, head);
  const nothing = await plan();
  assert.deepEqual([nothing.code, nothing.stdout], [0, 'nothing would change\n'], nothing.stderr);
});

test('node group apply, which contacts no node, has no options about the parts of a node', async () => {
  const { stdout } = await portcullis(['node', 'group', 'apply', '--help']);
  assert.deepEqual(
    [...new Set(stdout.match(/--[a-z-]+(?= |,)/gu))].sort(),
    ['--etcd', '--etcd-ca', '--etcd-cert', '--etcd-key', '--file', '--help', '--output'],
    stdout,
  );
});

test('node apply keeps the policy in the folder of --state', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-node-apply-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'node.yaml');
  writeFileSync(
    file,
    'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\npolicies:\n  - { name: policy.yaml, from: policy.yaml }\n',
  );
  writeFileSync(
    join(folder, 'policy.yaml'),
    'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\ndefault: deny\nrules: [{ images: ["**"], deny: not here }]\n',
  );
  const state = join(folder, 'state');
  const sockets = ['--socket', join(folder, 'none.sock'), '--admin-socket', join(folder, 'none.admin')];
  const words = ['node', 'apply', '--file', file, '--state', state, '--timeout', '1s', ...sockets];
  await portcullis(words);
  assert.match(readFileSync(join(state, 'policy', 'policy.yaml'), 'utf8'), /not here/u);
});

test('node apply --dry-run refuses what node apply refuses: a node that follows a group', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-node-apply-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'node.yaml');
  writeFileSync(file, 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n');
  assert.equal((await portcullis(['node', 'apply', '--file', file, '--state', folder])).code, 0);
  const path = join(folder, 'desired.json');
  const desired = JSON.parse(readFileSync(path, 'utf8')) as object;
  const source = { kind: 'group', group: 'web', generation: 1 };
  writeFileSync(path, JSON.stringify({ ...desired, source }));
  const plan = ['node', 'apply', '--dry-run', '--file', file, '--state', folder];
  const refused = await portcullis(plan);
  assert.match(refused.stderr, /its state comes from the group web.*\[NODE_GROUP_MEMBER\]/u);
  assert.equal(refused.code, 4);
  assert.equal((await portcullis([...plan, '--force'])).code, 0);
});

test('a damaged file of the state is reported with a way out, and hides no membership in a group', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-node-damaged-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'node.yaml');
  writeFileSync(file, 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n');
  const apply = (...more: readonly string[]) =>
    portcullis(['node', 'apply', '--file', file, '--state', folder, ...more]);
  assert.equal((await apply()).code, 0);

  writeFileSync(join(folder, 'desired.json'), '{');
  for (const more of [[], ['--dry-run']]) {
    const refused = await apply(...more);
    assert.match(refused.stderr, /desired\.json.*apply the state with --force.*\[NODE_STATE_DAMAGED\]/u);
    assert.equal(refused.code, 4);
  }
  assert.equal((await apply('--force')).code, 0);

  writeFileSync(join(folder, 'owned.json'), '{');
  const refused = await apply();
  assert.match(refused.stderr, /owned\.json.*or remove it.*\[NODE_STATE_DAMAGED\]/u);
  rmSync(join(folder, 'owned.json'));
  assert.equal((await apply()).code, 0);
});
