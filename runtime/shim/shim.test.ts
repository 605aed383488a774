import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import { generateTypes, parseDeclaration } from '../../base/protobuf/index.ts';
import { processesWithArgument } from '../processes/processes.ts';
import declaration from './contract.json' with { type: 'json' };
import { parseStartAnswer, readShimRecord, writeShimRecord } from './shim-record.ts';
import { prepareStandIn, readTaskExit, releaseStreams, reportExit, standInCommand } from './stand-in.ts';
import { startResult } from './start-messages.ts';
import { openTaskApi } from './task-api.ts';

function folderOf(t: { after(act: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'pc-shim-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('contract.types.ts is current', () => {
  const written = readFileSync(new URL('./contract.types.ts', import.meta.url), 'utf8');
  const current = generateTypes(parseDeclaration(declaration));
  assert.equal(written, current, 'run `sh packaging/node base/protobuf/generate-types.ts runtime/shim`');
});

const path = '/run/containerd/s/0123';
for (const [form, answer, version] of [
  ['an address', `unix://${path}`, 2],
  ['an address with a line end', `unix://${path}\n`, 2],
  ['JSON', JSON.stringify({ version: 3, address: `unix://${path}`, protocol: 'ttrpc' }), 3],
  ['a message', startResult.encode({ version: 3, address: `unix://${path}`, protocol: 'ttrpc' }), 3],
] as const)
  test(`a shim answers with ${form}`, () => {
    assert.deepEqual(parseStartAnswer(Buffer.from(answer), 'shim'), { socket: path, version });
  });

for (const [what, answer, code] of [
  ['nothing', '', 'SHIM_BAD_ANSWER'],
  ['a relative path', 'unix://s/x', 'SHIM_BAD_ANSWER'],
  ['a vsock', 'vsock://3:1024', 'SHIM_BAD_ANSWER'],
  ['a path that is too long for a socket', `unix:///${'x'.repeat(200)}`, 'SHIM_BAD_ANSWER'],
  ['a NUL', 'unix:///run/a\0b', 'SHIM_BAD_ANSWER'],
  ['gRPC', JSON.stringify({ version: 3, address: `unix://${path}`, protocol: 'grpc' }), 'SHIM_UNSUPPORTED'],
  [
    'a later version',
    JSON.stringify({ version: 4, address: `unix://${path}`, protocol: 'ttrpc' }),
    'SHIM_UNSUPPORTED',
  ],
] as const)
  test(`an answer with ${what} is refused`, () => {
    assert.throws(
      () => parseStartAnswer(Buffer.from(answer), 'shim'),
      (error) => isPortcullisError(error) && error.code === code,
    );
  });

test('a missing or truncated record counts as no record', async (t) => {
  const folder = folderOf(t);
  assert.equal(await readShimRecord(folder), undefined);
  writeFileSync(join(folder, 'shim.json'), '{"socket":"/run');
  assert.equal(await readShimRecord(folder), undefined);
  await writeShimRecord(folder, { socket: path, version: 2 });
  assert.deepEqual(await readShimRecord(folder), { socket: path, version: 2 });
});

test('a shim that does not exist is unreachable', async (t) => {
  const socket = join(folderOf(t), 'none.sock');
  await assert.rejects(
    openTaskApi({ socket, version: 3 }),
    (error) => isPortcullisError(error) && error.code === 'SHIM_UNREACHABLE' && error.kind === 'unavailable',
  );
});

test('the stand-in holds the streams until they are released, and ends with the code of its task', async (t) => {
  const folder = folderOf(t);
  prepareStandIn(folder);
  prepareStandIn(folder);
  const [program, ...args] = standInCommand(folder);
  // As conmon adds them.
  const child = spawn(program, [...args, 'create', '--bundle', folder, 'id'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  assert.deepEqual(await once(child, 'exit'), [0, null], 'the command ends, and the stand-in stays');
  const pid = Number(readFileSync(join(folder, 'init.pid'), 'utf8'));
  for (const fd of [8, 1, 2]) assert.match(readlinkSync(`/proc/${pid}/fd/${fd}`), /^(pipe|socket):/);
  child.stdin.on('error', () => undefined);
  const end = once(child.stdout.resume(), 'end').then(() => 'end');
  assert.equal(await Promise.race([end, pause(50, 'open')]), 'open');
  await releaseStreams(folder);
  await end;
  await reportExit(folder, { code: 7, finishedAt: '5' });
  for (let waited = 0; waited < 60_000 && isAlive(pid); waited += 10) await pause(10);
  assert.equal(isAlive(pid), false);
  assert.deepEqual(await readTaskExit(folder), { code: 7, finishedAt: '5' });
  await reportExit(folder, { code: 7, finishedAt: '5' });
  await releaseStreams(join(folder, 'gone'));
});

test('a truncated or invalid exit record has no time', async (t) => {
  const folder = folderOf(t);
  assert.equal(await readTaskExit(folder), undefined);
  for (const text of [
    '',
    '{"code":7',
    '{}',
    'null',
    '{"code":7,"finishedAt":"never"}',
    '{"finishedAt":"5"}',
    // The year 2514: the answers of the CRI have 63 bits for nanoseconds.
    '{"code":7,"finishedAt":"17179869184000000000"}',
  ]) {
    writeFileSync(join(folder, 'task-exit.json'), text);
    assert.equal(await readTaskExit(folder), undefined, text);
  }
});

test('a stand-in is found by its pid as soon as it waits, whatever happens to the command', async (t) => {
  const folder = folderOf(t);
  prepareStandIn(folder);
  const [program, ...args] = standInCommand(folder);
  for (let round = 0; round < 20; round += 1) {
    rmSync(join(folder, 'init.pid'), { force: true });
    const id = `stand-in-${process.pid}-${round}`;
    const child = spawn(program, [...args, 'create', '--bundle', folder, id], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ended = once(child, 'exit');
    await pause(2 * round);
    child.kill('SIGKILL');
    await ended;
    await pause(100);
    const left = processesWithArgument(id).map(({ pid }) => pid);
    const noted = existsSync(join(folder, 'init.pid'))
      ? [Number(readFileSync(join(folder, 'init.pid'), 'utf8'))]
      : [];
    for (const pid of left) process.kill(pid, 'SIGKILL');
    assert.deepEqual(left, left.length === 0 ? [] : noted);
  }
});

test('a stand-in whose bundle is gone ends', async (t) => {
  const folder = folderOf(t);
  const [program, ...args] = standInCommand(join(folder, 'gone'));
  const child = spawn(program, [...args, 'create', 'stand-in-gone'], { stdio: 'ignore' });
  assert.deepEqual(await once(child, 'exit'), [1, null]);
  assert.deepEqual(processesWithArgument('stand-in-gone'), []);
});

/** Reaped or a zombie: process 1 of a container may not reap. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
