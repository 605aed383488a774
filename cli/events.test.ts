import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { PortcullisError } from '../base/errors/index.ts';
import { createLogger } from '../base/log/index.ts';
import { ContainerEventType, createCriServer } from '../runtime/index.ts';
import { commandFile } from '../test/fixtures/command.ts';

// The command in a separate process, against a server with canned events on a real socket.

let folder: string;
let server: Awaited<ReturnType<typeof createCriServer>>;
const pod = { id: 'a'.repeat(64), metadata: { name: 'web', namespace: 'pay', uid: 'u1', attempt: 0 } };
const other = { id: 'b'.repeat(64), metadata: { name: 'db', namespace: 'shop', uid: 'u2', attempt: 0 } };
const app = { id: 'c'.repeat(64), metadata: { name: 'app', attempt: 0 } };
const time = 1_780_000_000_000_000_000n;
const events = [
  {
    containerId: pod.id,
    containerEventType: ContainerEventType.CONTAINER_STARTED_EVENT,
    podSandboxStatus: pod,
  },
  {
    containerId: app.id,
    containerEventType: ContainerEventType.CONTAINER_STOPPED_EVENT,
    podSandboxStatus: pod,
    containersStatuses: [{ ...app, exitCode: 3, reason: 'Error' }],
  },
  {
    containerId: app.id,
    containerEventType: ContainerEventType.CONTAINER_DELETED_EVENT,
    podSandboxStatus: pod,
  },
  {
    containerId: 'd'.repeat(64),
    containerEventType: ContainerEventType.CONTAINER_DELETED_EVENT,
    podSandboxStatus: other,
  },
].map((event, index) => ({ ...event, createdAt: time + BigInt(index) * 1_000_000n }));
let loss = false;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-events-'));
  server = await createCriServer({
    socketPath: join(folder, 'cri.sock'),
    log: createLogger({ level: 'silent' }),
    imageService: {},
    runtimeService: {
      listContainers: () =>
        Promise.resolve({ containers: [{ id: 'd'.repeat(64), metadata: { name: 'old', attempt: 0 } }] }),
      getContainerEvents: async function* () {
        yield* events;
        await Promise.resolve();
        if (loss) {
          throw new PortcullisError({
            code: 'X_LOST',
            kind: 'data-loss',
            attempted: 'send',
            on: 'x',
            why: 'it missed 7 events',
            fix: 'list',
          });
        }
      },
    },
  });
});
after(async () => {
  await server.close({ graceMs: 100 });
  await rm(folder, { recursive: true });
});

async function portcullis(
  ...args: string[]
): Promise<{ code: number | null; lines: string[]; stderr: string }> {
  const child = spawn(process.execPath, [commandFile, 'events', ...args], {
    env: { ...process.env, PORTCULLIS_SOCKET: join(folder, 'cri.sock') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  return { code: child.exitCode, lines: stdout.trimEnd().split('\n'), stderr };
}

test('one line per event, with the exit code, and the name of a removed container', async () => {
  const { code, lines } = await portcullis();
  assert.equal(code, 0);
  assert.match(lines[0] ?? '', /^TIME +EVENT +KIND +ID +CONTAINER +NAMESPACE\/POD$/);
  assert.match(lines[1] ?? '', /^2026-\S+Z +started +pod +a{13} +pay\/web$/);
  assert.match(lines[2] ?? '', / stopped +container +c{13} +app +pay\/web +exit code 3 \(Error\)$/);
  assert.match(lines[3] ?? '', / deleted +container +c{13} +app +pay\/web$/);
  assert.match(lines[4] ?? '', / deleted +container +d{13} +old +shop\/db$/);
  assert.equal(lines.length, 5);
});

const filters: readonly (readonly [readonly string[], readonly string[]])[] = [
  [['pod=web'], ['started', 'stopped', 'deleted']],
  [
    ['pod=web', 'pod=db'],
    ['started', 'stopped', 'deleted', 'deleted'],
  ],
  [['pod=web', 'type=stopped'], ['stopped']],
  [['namespace=shop'], ['deleted']],
  [['container=app'], ['stopped', 'deleted']],
  [['id=aaa'], ['started']],
];
for (const [given, expected] of filters) {
  test(`--filter ${given.join(' --filter ')}`, async () => {
    const { lines } = await portcullis('--output', 'json', ...given.flatMap((one) => ['--filter', one]));
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { type: string }).type),
      expected,
    );
  });
}

test('no line of a table precedes the error that no daemon runs', async () => {
  const { code, lines, stderr } = await portcullis('--socket', join(folder, 'none.sock'));
  assert.equal(code, 4);
  assert.deepEqual(lines, ['']);
  assert.match(stderr, /\[CRI_UNREACHABLE\]$/m);
});

test('an invalid filter is wrong use', async () => {
  for (const wrong of ['pod', 'pod=', 'colour=red', 'type=born'])
    assert.equal((await portcullis('--filter', wrong)).code, 2);
});

test('lost events end the command with an error', async () => {
  loss = true;
  const { code, lines, stderr } = await portcullis();
  loss = false;
  assert.equal(code, 4);
  assert.equal(lines.length, 5);
  assert.match(stderr, /it missed 7 events; list \[X_LOST\]/);
});
