import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseDeclaration } from '../../base/protobuf/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { createTtrpcClient, ttrpcMethods } from '../../base/ttrpc/index.ts';
import { processesWithArgument } from '../processes/processes.ts';
import { openEventSink } from './event-sink.ts';

const forward = ttrpcMethods(
  parseDeclaration({
    package: 'containerd.services.events.ttrpc.v1',
    services: { Events: { Forward: 'ForwardRequest Empty' } },
    messages: { Empty: {}, ForwardRequest: { envelope: '1 string' } },
  }),
)<{ readonly envelope: string }, object>('Events', 'Forward');

const startProgram: StartProgram = ({ path }) => {
  const child = spawn(path, [], { stdio: 'ignore' });
  child.unref();
  const exited = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 137)));
  return Promise.resolve({ pid: child.pid ?? 0, exited, kill: () => child.kill('SIGKILL') });
};

test('the event sink answers every event, on many connections, whatever their size, until no pod is left', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-sink-'));
  const shims = join(folder, 'shims');
  mkdirSync(shims);
  const sink = openEventSink(startProgram, folder, shims);
  t.after(async () => {
    rmSync(shims, { recursive: true, force: true });
    await sink.close();
    rmSync(folder, { recursive: true });
  });
  await Promise.all([sink.ensure(), sink.ensure()]);
  assert.equal(statSync(sink.socket).mode & 0o777, 0o700);
  const clients = Array.from({ length: 20 }, () => createTtrpcClient(connect(sink.socket), { name: 'sink' }));
  for (const size of [0, 1, 2047, 2048, 2049, 65_536, 4 * 1024 * 1024 - 200])
    await Promise.all(
      clients.map((client) => client.call(forward, { envelope: 'x'.repeat(size) }, { timeoutMs: 20_000 })),
    );
  const hostile = connect(sink.socket);
  hostile.on('error', () => undefined).write(Buffer.alloc(64, 0xff));
  await new Promise((resolve) => hostile.once('close', resolve).resume());
  await clients[0]?.call(forward, { envelope: 'after' });
  for (const client of clients) client.close();

  writeFileSync(join(shims, 'a-pod'), '');
  await sink.close();
  const last = createTtrpcClient(connect(sink.socket), { name: 'sink' });
  await last.call(forward, { envelope: 'still' });
  last.close();
  rmSync(join(shims, 'a-pod'));
  await sink.close();
  assert.deepEqual(readdirSync(folder), ['shims']);
});

test('a sink is neither ended nor started twice if its pods or its record cannot be read', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-sink-'));
  const shims = join(folder, 'shims');
  mkdirSync(shims);
  let starts = 0;
  const counted: StartProgram = (program) => ((starts += 1), startProgram(program));
  const sink = openEventSink(counted, folder, shims);
  t.after(async () => {
    await sink.close();
    rmSync(folder, { recursive: true });
  });
  await sink.ensure();
  rmSync(shims, { recursive: true });
  symlinkSync(shims, shims);
  assert.equal(await sink.close(), false);
  const record = join(folder, 'shim-events.json');
  renameSync(record, join(folder, 'kept'));
  // A read of this file fails with EIO: nothing is mapped at the address 0.
  symlinkSync('/proc/self/mem', record);
  await assert.rejects(sink.ensure(), { code: 'EIO' });
  renameSync(join(folder, 'kept'), record);
  rmSync(shims);
  await sink.ensure();
  assert.equal(starts, 1);
  const last = createTtrpcClient(connect(sink.socket), { name: 'sink' });
  await last.call(forward, { envelope: 'still' });
  last.close();
});

test('a process that a killed daemon started and did not record is ended', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-sink-'));
  const shims = join(folder, 'shims');
  mkdirSync(shims);
  t.after(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'shim-events');
  const first = openEventSink(startProgram, folder, shims);
  await first.ensure();
  const record = join(folder, 'shim-events.json');
  const recorded = (): number => (JSON.parse(readFileSync(record, 'utf8')) as { readonly pid: number }).pid;
  const unrecorded = recorded();
  rmSync(record);
  const second = openEventSink(startProgram, folder, shims);
  await second.ensure();
  // A process that serves one connection has the argument, too, so a count of processes proves nothing.
  const found = processesWithArgument(program).map(({ pid }) => pid);
  assert.ok(!found.includes(unrecorded));
  assert.ok(found.includes(recorded()));
  await second.close();
  assert.deepEqual(processesWithArgument(program), []);
});
