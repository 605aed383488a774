import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { goodState, post, requestOf, startFleet } from '../../fleet/fleet.fixture.ts';
import { commandFile } from '../../test/fixtures/command.ts';

test('the token of a reader is not sent to another machine without encryption', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-fleet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'reader.token');
  writeFileSync(file, 'token-of-the-reader-0123\n');
  const { status, stderr } = spawnSync(
    process.execPath,
    [commandFile, 'fleet', 'nodes', '--server', 'http://fleet.invalid:4319', '--token-file', file],
    { encoding: 'utf8' },
  );
  assert.match(stderr, /not sent over plain HTTP/u);
  assert.equal(status, 2);
});

test('an address without a scheme is named as it was given', () => {
  const command = [commandFile, 'fleet', 'nodes', '--server', 'fleet.example.com:4319'];
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  assert.match(
    stderr,
    /ask the aggregator fleet\.example\.com:4319: it is not an http or https URL; name --server https:/u,
  );
  assert.equal(status, 2);
});

test('a file that is not a token alone is refused, and the aggregator is not blamed', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-fleet-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'reader.token');
  const made = spawnSync(process.execPath, [commandFile, 'fleet', 'token', 'grafana', '--reader']);
  writeFileSync(file, made.stdout);
  const { status, stderr } = spawnSync(
    process.execPath,
    [commandFile, 'fleet', 'nodes', '--server', 'https://127.0.0.1:1', '--token-file', file],
    { encoding: 'utf8' },
  );
  assert.match(stderr, /it is not a token alone; write only the token into the file/u);
  assert.equal(status, 2);
});

test('--most limits each list, and a list that is cut says so', async (t) => {
  const service = await startFleet(t);
  for (const node of ['a', 'b', 'c']) {
    const body = JSON.stringify({ ...goodState, networkReady: false });
    await post(
      service.url,
      requestOf(node, [{ event: 'portcullis.node.state', time: 0, attributes: new Map(), body }]),
    );
  }
  const list = async (name: string, ...words: readonly string[]) => {
    const command = [commandFile, 'fleet', name, '--server', service.url, ...words];
    // The aggregator runs in this process.
    const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ]);
    return { status: child.exitCode, stdout, stderr };
  };
  for (const name of ['nodes', 'alerts']) {
    const cut = await list(name, '--most', '2');
    assert.equal(cut.stdout.trim().split('\n').length, 3, cut.stdout);
    assert.match(cut.stderr, /the first 2 entries/u);
    const whole = await list(name, '--most', '3', '--output', 'json');
    assert.equal((JSON.parse(whole.stdout) as Record<string, unknown[]>)[name]?.length, 3);
    assert.equal(whole.stderr, '');
    const wrong = await list(name, '--most', '1001');
    assert.match(wrong.stderr, /--most is not an integer from 1 to 1000/u);
    assert.equal(wrong.status, 2);
  }
});
