import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { createFixture, inPrivateNetns } from './engine.fixture.ts';

const kills = 20;

if (inPrivateNetns(import.meta.filename)) {
  test(`kill -9 at ${kills} random moments leaks no link, rule, address or host port`, async () => {
    const fixture = createFixture();
    const pristine = fixture.kernelState();
    const program = new URL('./crash.fixture.ts', import.meta.url).pathname;
    const counts = { attaching: 0, ready: 0, detaching: 0 };
    for (let round = 0; round < kills; round += 1) {
      const namespaces = [0, 1, 2].map((slot) => fixture.pod(`${round}-${slot}`).request.netns);
      const child = spawn(process.execPath, [program, fixture.databasePath, fixture.confDir, String(round), ...namespaces], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exit = once(child, 'exit');
      await once(child.stdout, 'data');
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 80));
      child.kill('SIGKILL');
      assert.deepEqual(await exit, [null, 'SIGKILL'], 'the program failed by itself');
      for (const state of statesIn(fixture.databasePath)) counts[state] += 1;
      // Every other round the next program takes over what the killed one left.
      if (round % 2 === 0) continue;
      const engine = await fixture.engine();
      await engine.gc(new Set());
      assert.deepEqual(engine.list(), []);
      await engine.close({ removeAll: true });
      assert.equal(fixture.kernelState(), pristine);
      assert.deepEqual(rowsIn(fixture.databasePath), { attachment: 0, lease: 0, host_port: 0 });
    }
    assert.ok(counts.attaching + counts.ready + counts.detaching > 0, 'no kill met an attachment');
    process.stdout.write(`# killed with ${JSON.stringify(counts)} attachments under way\n`);
    fixture.end();
  });
}

function statesIn(path: string): ('attaching' | 'ready' | 'detaching')[] {
  const db = new DatabaseSync(path, { readOnly: true });
  const rows = db.prepare('SELECT state FROM attachment').all() as unknown as { state: 'attaching' | 'ready' | 'detaching' }[];
  db.close();
  return rows.map(({ state }) => state);
}

function rowsIn(path: string): Record<string, number> {
  const db = new DatabaseSync(path, { readOnly: true });
  const count = (table: string): number => (db.prepare(`SELECT count(*) AS n FROM ${table}`).get() as { n: number }).n;
  const rows = { attachment: count('attachment'), lease: count('lease'), host_port: count('host_port') };
  db.close();
  return rows;
}
