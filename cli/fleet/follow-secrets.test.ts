import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { readAccessFile } from '../../fleet/index.ts';
import type { FleetSecrets } from '../../fleet/index.ts';
import { followSecrets } from './follow-secrets.ts';

test('a changed file of tokens is used once, and a damaged one changes nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fleet-tokens-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'tokens.yaml');
  let reads = 0;
  const read = (): Promise<FleetSecrets> => {
    reads += 1;
    return Promise.resolve({ access: readAccessFile(file, readFileSync(file, 'utf8')) });
  };
  const write = async (text: string): Promise<void> => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
    for (const from = reads; reads < from + 3;) await pause(10);
  };
  writeFileSync(file, 'nodes: { a: {} }');
  const used: string[] = [];
  const use = ({ access }: FleetSecrets): void => void used.push([...(access?.nodes.keys() ?? [])].join());
  const follower = followSecrets(read, await read(), { use }, 10);
  t.after(() => follower.close());
  await write('nodes: { a: {}, b: {} }');
  await write('nodes: { a: ');
  await write('nodes: { a: {}, b: {} }');
  await write('nodes: { b: {} }');
  assert.deepEqual(used, ['a,b', 'b']);
});
