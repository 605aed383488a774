import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase } from './index.ts';

const rounds = 8;
const migrations = [{ version: 1, sql: 'CREATE TABLE item (id TEXT PRIMARY KEY, half INTEGER) STRICT' }];

/**
 * Writes pairs of rows, several calls per turn, and records each id in a file once its write was
 * acknowledged.
 */
const program = (path: string, notes: string, round: number): string => `
  import { openSync, writeSync } from 'node:fs';
  import { openDatabase } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
  const db = await openDatabase({ path: ${JSON.stringify(path)}, migrations: ${JSON.stringify(migrations)} });
  const notes = openSync(${JSON.stringify(notes)}, 'a');
  const insert = (id: string, half: number) => ({ sql: 'INSERT INTO item VALUES (?, ?)', params: [id + half, half] });
  for (let n = 0; ; n++) {
    await Promise.all(Array.from({ length: 1 + n % 4 }, async (_, k) => {
      const id = '${round}-' + n + '-' + k + '-';
      await db.write([insert(id, 1), insert(id, 2)], k % 2 === 0 ? 'power-loss' : 'process');
      writeSync(notes, id + '\\n');
    }));
  }`;

it(`a killed process loses no acknowledged write and leaves no partial write (${rounds} random moments)`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-kill-'));
  const path = join(folder, 'state.db');
  try {
    const acknowledged: string[] = [];
    for (let round = 0; round < rounds; round++) {
      const notes = join(folder, `notes-${round}`);
      writeFileSync(notes, '');
      const child = spawn(
        process.execPath,
        ['--input-type=module-typescript', '-e', program(path, notes, round)],
        {
          stdio: ['ignore', 'ignore', 'inherit'],
        },
      );
      const closed = once(child, 'close');
      while (statSync(notes).size === 0) {
        assert.equal(child.exitCode, null, 'the writer ended by itself');
        await sleep(5);
      }
      await sleep(Math.random() * 60);
      child.kill('SIGKILL');
      await closed;
      // A truncated line was not acknowledged completely.
      acknowledged.push(...readFileSync(notes, 'utf8').split('\n').slice(0, -1));
    }
    const db = await openDatabase({ path, migrations });
    const ids = new Set((await db.all<{ id: string }>('SELECT id FROM item')).map((row) => row.id));
    await db.close();
    assert.ok(acknowledged.length >= rounds, `too few writes to mean anything: ${acknowledged.length}`);
    for (const id of acknowledged)
      assert.ok(ids.has(`${id}1`) && ids.has(`${id}2`), `${id} was acknowledged and is lost`);
    for (const id of ids)
      assert.ok(
        ids.has(id.replace(/[12]$/, (half) => (half === '1' ? '2' : '1'))),
        `${id} exists without its other half`,
      );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
