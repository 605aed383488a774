import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createLogger } from '../../../base/log/index.ts';
import { hostPathsHere } from '../../host-paths/in-process.fixture.ts';
import type { ContainerRecord } from '../record.ts';
import { createLogRotation, freeName } from './log-rotation.ts';
import type { LogRotation } from './log-rotation.ts';

const rotated = ['0.log', '0.log.20261120-115500', '0.log.20261120-115501'];

/** The logs of two pods, each with more files than the rotation keeps. */
function twoPods(t: TestContext): { readonly own: string; readonly other: string } {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-logs-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [own, other] = [join(folder, 'own'), join(folder, 'other')];
  for (const pod of [own, other]) {
    mkdirSync(join(pod, 'main'), { recursive: true });
    for (const name of rotated) writeFileSync(join(pod, 'main', name), 'x'.repeat(4096));
  }
  return { own, other };
}

function rotationOf(pod: string, reopen: () => Promise<void>): LogRotation {
  const record = {
    id: 'c',
    phase: 'running',
    logPath: join(pod, 'main/0.log'),
    config: { logPath: 'main/0.log' },
  };
  return createLogRotation({
    maxSize: '1Ki',
    maxFiles: 2,
    containers: () => [record as ContainerRecord],
    reopen,
    log: createLogger({ level: 'silent' }),
    paths: hostPathsHere,
  });
}

/** Puts a link to the logs of another pod in place of the folder of a log. */
function plant(own: string, other: string): void {
  renameSync(join(own, 'main'), join(own, 'aside'));
  symlinkSync(join(other, 'main'), join(own, 'main'));
}

test('a log is rotated, and its oldest files are removed', async (t) => {
  const { own } = twoPods(t);
  const rotation = rotationOf(own, async () => writeFileSync(join(own, 'main/0.log'), ''));
  await rotation.sweep();
  rotation.close();
  const kept = readdirSync(join(own, 'main')).sort();
  assert.equal(kept.length, 2, kept.join(' '));
  assert.equal(kept[0], '0.log');
});

test('a rotation keeps the newest lines although the clock was set back since the last one', async (t) => {
  const { own } = twoPods(t);
  const inside = (name: string): string => join(own, 'main', name);
  writeFileSync(inside('0.log.29991120-115500-1'), 'older lines');
  for (const lines of ['newer lines', 'newest lines']) {
    writeFileSync(inside('0.log'), lines.padEnd(4096));
    const rotation = rotationOf(own, async () => writeFileSync(inside('0.log'), ''));
    await rotation.sweep();
    rotation.close();
    const kept = readdirSync(join(own, 'main')).filter((name) => name !== '0.log');
    assert.equal(kept.length, 1);
    assert.equal(readFileSync(inside(kept[0] ?? ''), 'utf8').trim(), lines);
  }
});

test('nothing is renamed where a link leads that is in place of the folder of a log', async (t) => {
  const { own, other } = twoPods(t);
  plant(own, other);
  let asked = 0;
  const rotation = rotationOf(own, async () => void (asked += 1));
  await rotation.sweep();
  rotation.close();
  assert.deepEqual(readdirSync(join(other, 'main')).sort(), rotated);
  assert.equal(asked, 0);
});

test('nothing is removed where a link leads that appears during the rotation', async (t) => {
  const { own, other } = twoPods(t);
  const rotation = rotationOf(own, async () => plant(own, other));
  await rotation.sweep();
  rotation.close();
  assert.deepEqual(readdirSync(join(other, 'main')).sort(), rotated);
});

test('a rotated log gets a new name after each name that counts, also the longest number of earlier versions', async () => {
  const names = ['0.log', '0.log.99999999-999999-999999999'];
  const paths = { names: () => Promise.resolve(names) };
  for (const number of ['1000000000', '1000000001']) {
    const name = await freeName('/logs/0.log', new Date(0), paths);
    assert.equal(name, `0.log.99999999-999999-${number}`);
    names.push(name);
  }
});
