import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
