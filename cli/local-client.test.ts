import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { PortcullisError } from '../base/errors/index.ts';
import { createLogger } from '../base/log/index.ts';
import { ContainerState, createCriServer, PodSandboxState } from '../runtime/index.ts';
import { commandFile } from '../test/fixtures/command.ts';

// pods, ps, logs and exec in separate processes, against a server with canned answers on a real socket.

let folder: string;
let server: Awaited<ReturnType<typeof createCriServer>>;
let streams: WebSocketServer;
// Ages in hours do not change while a busy machine runs these tests.
const now = BigInt(Date.now()) * 1_000_000n;
const minute = 60_000_000_000n;

const pods = [
  {
    id: 'a'.repeat(64),
    metadata: { name: 'web', namespace: 'pay', uid: 'u1', attempt: 0 },
    state: PodSandboxState.SANDBOX_READY,
    createdAt: now - 210n * minute,
  },
  {
    id: 'b'.repeat(64),
    metadata: { name: 'old', namespace: 'pay', uid: 'u2', attempt: 1 },
    state: PodSandboxState.SANDBOX_NOTREADY,
    createdAt: now - 30n * 60n * minute,
  },
];
const containers = [
  { id: `c1${'0'.repeat(62)}`, name: 'app', pod: 0, state: ContainerState.CONTAINER_RUNNING },
  { id: `c2${'0'.repeat(62)}`, name: 'side', pod: 0, state: ContainerState.CONTAINER_RUNNING },
  { id: `d3${'0'.repeat(62)}`, name: 'app', pod: 1, state: ContainerState.CONTAINER_EXITED },
  { id: `e4${'0'.repeat(62)}`, name: 'mixed', pod: 1, state: ContainerState.CONTAINER_EXITED },
  { id: `f5${'0'.repeat(62)}`, name: 'later', pod: 1, state: ContainerState.CONTAINER_EXITED },
].map(({ id, name, pod, state }) => ({
  id,
  podSandboxId: pods[pod]?.id ?? '',
  metadata: { name, attempt: 0 },
  image: { userSpecifiedImage: 'localhost:5000/app:1' },
  imageRef: 'sha256:0123',
  state,
  createdAt: now - 150n * minute,
}));

/** Answers a streamed command as execSync does. */
function stream(socket: WebSocket, { url = '' }: IncomingMessage): void {
  const [, id = '', ...words] = url.split('/');
  const cause = { reason: 'ExitCode', message: '7' };
  for (const [channel, text] of [
    [1, words.join(' ')],
    [2, id.slice(0, 2)],
    [3, JSON.stringify({ status: 'Failure', details: { causes: [cause] } })],
  ] as const)
    socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(text)]));
  socket.close();
}

before(async () => {
  streams = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  streams.on('connection', stream);
  await once(streams, 'listening');
  folder = await mkdtemp(join(tmpdir(), 'portcullis-cli-'));
  const log = join(folder, '0.log');
  const time = '2026-11-20T08:00:00.000000000Z';
  await writeFile(
    log,
    `${time} stdout F one\n${time} stderr F two\n${time} stdout P th\n${time} stdout F ree\n`,
  );
  const mixed = join(folder, 'mixed.log');
  await writeFile(
    mixed,
    `${time} stdout P o\n${time} stderr F two\n${time} stdout F ne\n${time} stderr F four\n`,
  );
  const later = join(folder, 'later.log');
  const at = (hour: string, text: string): string =>
    `2026-11-20T${hour}:00:00.000000000+00:00 stdout F ${text}\n`;
  await writeFile(later, at('08', 'eight') + at('09', 'nine') + at('10', 'ten'));
  const logs: Readonly<Record<string, string>> = { c2: '', e4: mixed, f5: later };
  server = await createCriServer({
    socketPath: join(folder, 'cri.sock'),
    log: createLogger({ level: 'silent' }),
    imageService: {},
    runtimeService: {
      listPodSandbox: ({ filter }) =>
        Promise.resolve({
          items: pods.filter((pod) => filter?.state === undefined || pod.state === filter.state.state),
        }),
      listContainers: ({ filter }) =>
        Promise.resolve({
          containers: containers.filter(
            (container) => filter?.state === undefined || container.state === filter.state.state,
          ),
        }),
      containerStatus: ({ containerId }) =>
        Promise.resolve({
          status: {
            id: containerId,
            logPath: logs[containerId.slice(0, 2)] ?? log,
            state: ContainerState.CONTAINER_EXITED,
          },
        }),
      exec: ({ cmd, containerId }) => {
        if (cmd[0] === 'denied') {
          throw new PortcullisError({
            code: 'X_DENIED',
            kind: 'denied',
            attempted: 'exec',
            on: containerId,
            why: 'no',
            fix: 'none',
          });
        }
        if (cmd[0] === 'undecided')
          throw new PortcullisError({
            code: 'X_UNDECIDED',
            kind: 'undecided',
            attempted: 'exec',
            on: 'x',
            why: 'unknown',
            fix: 'wait',
          });
        const port = cmd[0] === 'unreachable' ? 1 : (streams.address() as AddressInfo).port;
        return Promise.resolve({ url: `http://127.0.0.1:${port}/${containerId}/${cmd.join('/')}` });
      },
      execSync: ({ cmd, containerId }) =>
        Promise.resolve({
          stdout: Buffer.from(cmd.join(' ')),
          stderr: Buffer.from(containerId.slice(0, 2)),
          exitCode: 7,
        }),
    },
  });
});
after(async () => {
  streams.close();
  await server.close({ graceMs: 100 });
  await rm(folder, { recursive: true });
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function portcullis(...args: string[]): Promise<Outcome> {
  const env = { ...process.env, PORTCULLIS_SOCKET: join(folder, 'cri.sock') };
  return new Promise((resolve) => {
    execFile(process.execPath, [commandFile, ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

test('pods lists the ready pods, newest first, and with -a all pods', async () => {
  const { stdout, code } = await portcullis('pods');
  assert.deepEqual([code, stdout.split('\n').length], [0, 3]);
  assert.match(
    stdout,
    /^POD +AGE +STATE +NAME +NAMESPACE +ATTEMPT +RUNTIME\na{13} +3h +ready +web +pay +0 +\(default\)\n$/,
  );
  assert.match((await portcullis('pods', '-a')).stdout, /\nb{13} +1d +not ready +old +pay +1 /);
});

test('pods as JSON', async () => {
  const listed = JSON.parse((await portcullis('pods', '-a', '--output', 'json')).stdout) as Record<
    string,
    unknown
  >[];
  assert.deepEqual(
    listed.map(({ name, namespace, state }) => [name, namespace, state]),
    [
      ['web', 'pay', 'ready'],
      ['old', 'pay', 'not ready'],
    ],
  );
});

test('ps lists the running containers with their pods, and with -a all containers', async () => {
  const { stdout } = await portcullis('ps');
  assert.match(stdout, /\nc100000000000 +localhost:5000\/app:1 +2h +running +app +0 +a{13} +pay\/web\n/);
  assert.doesNotMatch(stdout, /exited/);
  const listed = JSON.parse((await portcullis('ps', '-a', '--output', 'json')).stdout) as Record<
    string,
    unknown
  >[];
  assert.deepEqual(listed.map(({ state }) => state).sort(), [
    'exited',
    'exited',
    'exited',
    'running',
    'running',
  ]);
});

test('ps -q and pods -q print whole ids, and nothing else', async () => {
  assert.equal((await portcullis('pods', '-q')).stdout, `${'a'.repeat(64)}\n`);
  const ids = (await portcullis('ps', '--quiet', '-a')).stdout.trim().split('\n').sort();
  assert.deepEqual(ids, containers.map(({ id }) => id).sort());
  assert.equal((await portcullis('ps', '-q', '-o', 'json')).code, 2);
});

test('logs prints the time of a line after a partial line of the other stream', async () => {
  const time = '2026-11-20T08:00:00.000000000Z';
  assert.deepEqual(await portcullis('logs', '-t', 'e4'), {
    code: 0,
    stdout: `${time} one\n`,
    stderr: `${time} two\n${time} four\n`,
  });
});

test('logs writes each stream to its own output, and joins partial lines', async () => {
  assert.deepEqual(await portcullis('logs', 'd3'), { code: 0, stdout: 'one\nthree\n', stderr: 'two\n' });
  assert.equal((await portcullis('logs', '--tail', '1', 'app')).stdout, 'three\n');
  assert.equal(
    (await portcullis('logs', '-f', '-t', '--tail', '1', 'app')).stdout,
    '2026-11-20T08:00:00.000000000Z three\n',
  );
  const entries = (await portcullis('logs', '--output', 'json', 'app')).stdout.trim().split('\n');
  assert.deepEqual(JSON.parse(entries[2] ?? ''), {
    time: '2026-11-20T08:00:00.000000000Z',
    stream: 'stdout',
    partial: true,
    content: 'th',
  });
});

test('logs --since prints the lines from a time on, and --tail counts all lines', async () => {
  const since = async (...words: string[]) => (await portcullis('logs', 'later', ...words)).stdout;
  assert.equal(await since('--since', '2026-11-20T09:30:00Z'), 'ten\n');
  assert.equal(await since('--since', '2026-11-20T10:00:00+01:00'), 'nine\nten\n');
  assert.equal(await since('--since', '2026-11-20T08:00:00Z', '--tail', '1'), 'ten\n');
  assert.equal((await portcullis('logs', 'later', '--since', '10')).code, 2);
});

test('exec passes on the output, the flags and the exit code of the command', async () => {
  assert.deepEqual(await portcullis('exec', 'c1', 'ls', '-l', '--output', 'x'), {
    code: 7,
    stdout: 'ls -l --output x',
    stderr: 'c1',
  });
  // kubectl separates the command by "--".
  assert.deepEqual(
    await portcullis('exec', 'c1', '--', 'ls', '-l', '--output', 'x'),
    await portcullis('exec', 'c1', 'ls', '-l', '--output', 'x'),
  );
  assert.equal((await portcullis('exec', '--timeout', '5', 'c1', 'id')).stdout, 'id');
  assert.deepEqual(await portcullis('exec', 'c1', 'unreachable'), {
    ...(await portcullis('exec', 'c1', 'id')),
    stdout: 'unreachable',
  });
  assert.deepEqual(JSON.parse((await portcullis('exec', '--output', 'json', 'side', 'id')).stdout), {
    exitCode: 7,
    stdout: 'id',
    stderr: 'c2',
  });
});

const failures: readonly {
  readonly args: readonly string[];
  readonly code: number;
  readonly says: RegExp;
}[] = [
  {
    args: ['exec', 'nothing', 'ls'],
    code: 4,
    says: /no container has this id or name.*\[CRI_NO_SUCH_CONTAINER\]/,
  },
  { args: ['logs', 'c'], code: 4, says: /several ids have this prefix/ },
  { args: ['logs', 'side'], code: 4, says: /\[CLI_NO_LOG\]/ },
  { args: ['exec', 'app', 'denied'], code: 1, says: /\[X_DENIED\]/ },
  { args: ['exec', 'app', 'undecided'], code: 3, says: /\[X_UNDECIDED\]/ },
];
for (const { args, code, says } of failures) {
  test(`portcullis ${args.join(' ')}: exits ${code}`, async () => {
    const outcome = await portcullis(...args);
    assert.match(outcome.stderr, says);
    assert.equal(outcome.code, code);
  });
}
