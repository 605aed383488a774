import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { saveLimits } from './saved-limits.ts';

describe('limits that a failed update has changed', () => {
  let root = '';
  const file = (name: string): string => join(root, '/p/c', name);
  const save = (unified: Readonly<Record<string, string>>): Promise<() => Promise<void>> =>
    saveLimits({ version: 2, hybrid: false, roots: [root] }, '/p/c', { hugepageLimits: [], unified });
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'portcullis-saved-limits-'));
    mkdirSync(join(root, '/p/c'), { recursive: true });
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('are written back', async () => {
    writeFileSync(file('memory.high'), 'max\n');
    const restore = await save({ 'memory.high': '4096' });
    writeFileSync(file('memory.high'), '4096\n');
    await restore();
    assert.equal(readFileSync(file('memory.high'), 'utf8'), 'max\n');
  });

  // The files here keep the last line. The kernel keeps one line for each device.
  it('are removed from a device that had none', async () => {
    writeFileSync(file('io.max'), '');
    const restore = await save({ 'io.max': '8:0 rbps=1' });
    writeFileSync(file('io.max'), '8:0 rbps=1 wbps=max riops=max wiops=max\n');
    await restore();
    assert.equal(readFileSync(file('io.max'), 'utf8'), '8:0 rbps=max wbps=max riops=max wiops=max');
  });

  it('are written back by one device in each write', async () => {
    writeFileSync(file('io.max'), '8:0 rbps=1\n8:16 rbps=2\n');
    const restore = await save({ 'io.max': '8:0 rbps=3' });
    writeFileSync(file('io.max'), '8:0 rbps=3\n8:16 rbps=2\n');
    await restore();
    assert.equal(readFileSync(file('io.max'), 'utf8'), '8:16 rbps=2');
  });

  it('are written back by one resource in each write', async () => {
    writeFileSync(file('misc.max'), 'sev max\ntdx 5\n');
    const restore = await save({ 'misc.max': 'tdx 1' });
    writeFileSync(file('misc.max'), 'sev max\ntdx 1\n');
    await restore();
    assert.equal(readFileSync(file('misc.max'), 'utf8'), 'tdx 5');
  });
});
