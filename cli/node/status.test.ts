import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { portcullis } from '../../test/fixtures/command.ts';

test('node status does not say that nothing keeps the state while its process may run', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-old-status-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'node.yaml');
  writeFileSync(file, 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n');
  await portcullis(['node', 'apply', '--file', file, '--state', folder]);
  const path = join(folder, 'status.json');
  const status = JSON.parse(readFileSync(path, 'utf8')) as object;
  const shown = async (pid: number): Promise<string> => {
    writeFileSync(path, JSON.stringify({ ...status, pid, at: '2026-01-02T03:04:05.000Z' }));
    const { stdout } = await portcullis(['node', 'status', '--state', folder]);
    return stdout;
  };
  const running = await shown(process.pid);
  assert.match(
    running,
    new RegExp(`^no status was written since 2026-01-02T.* process ${process.pid} if`, 'mu'),
  );
  // No process has a PID above the maximum of the kernel, 2^22.
  assert.match(await shown(2 ** 22 + 1), /^nothing keeps this state: start `portcullis node serve`$/mu);
});

test('a node without a state is not told that its state is invalid', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-no-state-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { code, stderr } = await portcullis(['node', 'diff', '--state', folder]);
  assert.equal(code, 4);
  assert.match(stderr, /no state was applied to this node; .*`portcullis node apply.*\[NODE_STATE_NONE\]/u);
});
