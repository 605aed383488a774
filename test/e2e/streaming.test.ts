import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { makeCertificate } from '../fixtures/certificate.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand, openSpdy, statusOf } from '../fixtures/stream-client.ts';

const plain = { tty: false, stdin: false, stdout: true, stderr: true } as const;
const interactive = { tty: true, stdin: true, stdout: true, stderr: false } as const;

async function until(what: () => boolean | Promise<boolean>, why: string): Promise<void> {
  for (let waited = 0; waited < 60_000; waited += 20) {
    if (await what()) return;
    await pause(20);
  }
  assert.fail(`not met within a minute: ${why}`);
}

// The start and the end of a command depend on the runtime. The transport does not.
for (const runtimeHandler of ['crun', 'runc'])
  describe(`streams with ${runtimeHandler}`, () => {
    let stage: Stage;
    let pod: Pod;
    let image = '';
    let containerId = '';
    before(async () => {
      stage = await openStage();
      image = await stage.pull((await stage.publish('app/a:1')).reference);
      pod = await runPod(stage, 'streams', {}, runtimeHandler);
      containerId = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    });
    after(() => stage.close());
    const runtime = () => stage.daemon.cri.runtime;
    const execUrl = async (cmd: readonly string[], streams: object = plain): Promise<string> =>
      (await runtime().exec({ containerId, cmd: [...cmd], ...plain, ...streams })).url;
    const exec = async (cmd: readonly string[], streams: object = plain, protocol?: string) =>
      openCommand(await execUrl(cmd, streams), protocol);
    const sleeping = async (): Promise<string[]> =>
      (await execute(stage, containerId, 'ps', '-o', 'args')).stdout
        .split('\n')
        .filter((line) => line.startsWith('sleep'));
    const leftFiles = () =>
      readdirSync(join(stage.folders.state, 'containers', containerId)).filter((name) =>
        name.startsWith('stream-'),
      );

    describe('exec', () => {
      for (const protocol of ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io'])
        it(`returns both outputs, and the exit code in the status: ${protocol}`, async () => {
          const client = await exec(['sh', '-c', 'echo out; echo err >&2; exit 7'], plain, protocol);
          const status = await client.status;
          assert.deepEqual([client.stdout(), client.stderr()], ['out\n', 'err\n']);
          assert.deepEqual([status.status, status.reason], ['Failure', 'NonZeroExitCode']);
          assert.deepEqual(status.details?.causes, [{ reason: 'ExitCode', message: '7' }]);
        });

      it('success is reported, and nothing is left', async () => {
        const client = await exec(['true']);
        assert.equal((await client.status).status, 'Success');
        await until(() => leftFiles().length === 0, 'files of the session are removed');
      });

      it('a program that does not exist is reported as a distinct error', async () => {
        for (const streams of [plain, interactive]) {
          const client = await exec(['/no/such'], streams);
          const status = await client.status;
          assert.deepEqual([status.status, status.reason], ['Failure', 'InternalError']);
          assert.match(status.message ?? '', /error executing command in container: .*no\/such/);
          assert.deepEqual([client.stdout(), client.stderr()], ['', '']);
        }
      });

      it('input and its end reach the command', async () => {
        const client = await exec(['sh', '-c', 'cat; echo over'], { stdin: true });
        client.send('one\n');
        await until(() => client.stdout() === 'one\n', 'the echo');
        client.send('two\n');
        client.endInput();
        assert.equal((await client.status).status, 'Success');
        assert.equal(client.stdout(), 'one\ntwo\nover\n');
      });

      it('large input arrives complete', async () => {
        const client = await exec(['sha256sum'], { stdin: true });
        const block = Buffer.alloc(1024 * 1024, 'portcullis');
        for (let count = 0; count < 20; count += 1) client.send(block);
        client.endInput();
        await client.status;
        const expected = execFileSync('sha256sum', {
          input: Buffer.concat(Array.from({ length: 20 }, () => block)),
          encoding: 'utf8',
        });
        assert.equal(client.stdout(), expected);
      });

      it('output is complete at the end of the command, on a pipe and on a terminal', async () => {
        for (const streams of [plain, { ...interactive, stdin: false }])
          for (let round = 0; round < 5; round += 1) {
            const client = await exec(['sh', '-c', 'yes 123456789 | head -n 30000'], streams);
            assert.equal((await client.status).status, 'Success');
            assert.equal(client.stdout().replaceAll('\r', '').length, 300_000);
          }
      });

      it('a terminal: its type, its size, resize, and keys', async () => {
        const client = await exec(
          ['sh', '-c', 'tty; echo $TERM; read line; stty size; echo "<$line>"; exit 4'],
          interactive,
        );
        await until(() => /xterm/.test(client.stdout()), 'the first lines');
        assert.match(client.stdout(), /^\/dev\/pts\/\d+\r\n/);
        client.resize(91, 37);
        await pause(100);
        client.send('typed\r');
        const status = await client.status;
        assert.match(client.stdout(), /37 91\r\n<typed>/);
        assert.equal(status.details?.causes[0]?.message, '4');
      });

      it('Ctrl-C reaches the foreground process', async () => {
        const client = await exec(
          ['sh', '-c', 'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.1; done'],
          interactive,
        );
        await until(() => client.stdout().includes('ready'), 'the trap');
        client.send('\x03');
        assert.equal((await client.status).details?.causes[0]?.message, '5');
        assert.match(client.stdout(), /caught/);
      });

      it('a command that closes its terminal runs to its end, and may open the terminal again', async () => {
        const client = await exec(
          [
            'sh',
            '-c',
            'exec </dev/null >/dev/null 2>&1; sleep 0.5; exec </dev/tty >/dev/tty; read line; echo "<$line>"; exec >&- <&-; sleep 0.3; exit 6',
          ],
          interactive,
        );
        await pause(200);
        client.send('typed\r');
        assert.equal((await client.status).details?.causes[0]?.message, '6');
        assert.match(client.stdout(), /<typed>/);
      });

      it('a background process that holds the output open does not delay the end of the session', async () => {
        const client = await exec(['sh', '-c', 'sleep 301 & echo done']);
        assert.equal((await client.status).status, 'Success');
        assert.equal(client.stdout(), 'done\n');
        assert.ok((await sleeping()).includes('sleep 301'));
        await execute(
          stage,
          containerId,
          'sh',
          '-c',
          'cd /proc; for p in [0-9]*; do grep -qa "^sleep.301" $p/cmdline && kill -9 $p; done',
        );
      });

      it('runs with the confinement of the container', async () => {
        const status = async (id: string) => (await execute(stage, id, 'cat', '/proc/self/status')).stdout;
        const client = await exec(['cat', '/proc/self/status']);
        await client.status;
        for (const field of ['CapBnd', 'CapEff', 'NoNewPrivs', 'Seccomp'])
          assert.equal(
            new RegExp(`^${field}:.*$`, 'm').exec(client.stdout())?.[0],
            new RegExp(`^${field}:.*$`, 'm').exec(await status(containerId))?.[0],
          );
      });
    });

    describe('a client that disconnects', () => {
      it('ends its command and the processes that the command started', async () => {
        for (const [streams, command] of [
          [{ ...plain, stdin: true }, 'sleep 311 & sleep 312'],
          [interactive, 'sleep 313 & sleep 314'],
        ] as const) {
          const client = await exec(['sh', '-c', command], streams);
          await until(async () => (await sleeping()).length === 3, 'the command runs');
          client.drop();
          await until(async () => (await sleeping()).length === 1, 'it is gone');
        }
        await until(() => leftFiles().length === 0, 'files of the session are removed');
      });

      it('is noticed although the command does not read its input', async () => {
        const client = await exec(['sleep', '315'], { stdin: true });
        // More than the command reads, but less than the buffers of the connection.
        client.send(Buffer.alloc(400_000));
        await until(() => client.socket.bufferedAmount === 0, 'all is sent');
        client.drop();
        await until(async () => (await sleeping()).length === 1, 'it is gone');
      });

      // More than all buffers of a connection.
      const [messages, message] = [64, Buffer.alloc(1024 * 1024)];
      const blocked = {
        WebSocket: async (command: readonly string[]) => {
          const client = await exec(command, { stdin: true });
          for (let sent = 0; sent < messages; sent += 1) client.send(message);
          return { left: () => client.socket.bufferedAmount, drop: client.drop };
        },
        SPDY: async (command: readonly string[]) => {
          const client = await openSpdy(await execUrl(command, { stdin: true }), 'v4.channel.k8s.io');
          const types = ['error', 'stdin', 'stdout', 'stderr'];
          const [, stdin = 0] = types.map((streamtype) => client.open({ streamtype }));
          for (let sent = 0; sent < messages; sent += 1) client.send(stdin, message);
          return { left: () => client.socket.writableLength, drop: client.drop };
        },
      };
      for (const [protocol, open] of Object.entries(blocked))
        it(`is noticed although its kernel cannot deliver its last input: ${protocol}`, async () => {
          const client = await open(['sleep', '316']);
          await until(async () => (await sleeping()).length === 2, 'the command runs');
          let before = -1;
          await until(() => before === (before = client.left()), 'the connection is full');
          assert.ok(before > 0);
          client.drop();
          await until(async () => (await sleeping()).length === 1, 'it is gone');
        });

      it('does not end processes that the user detached on purpose', async () => {
        const client = await exec([
          'sh',
          '-c',
          'setsid sleep 321 & (trap "" HUP; exec sleep 322) & sleep 323 & sleep 324',
        ]);
        await until(async () => (await sleeping()).length === 5, 'the command runs');
        client.drop();
        await until(async () => (await sleeping()).length === 3, 'the other processes are gone');
        assert.deepEqual((await sleeping()).sort(), ['sleep 321', 'sleep 322', 'sleep 600']);
        await execute(
          stage,
          containerId,
          'sh',
          '-c',
          'cd /proc; for p in [0-9]*; do grep -qa "^sleep.32" $p/cmdline && kill -9 $p; done',
        );
      });
    });

    if (runtimeHandler === 'crun') {
      describeLoad();
      describeAttach();
      describePortForward();
      describeUrls();
      describeDropped();
    }

    it('sessions end with the daemon and leave nothing', async () => {
      for (const kill of [false, true]) {
        const clients = [
          await exec(['sh', '-c', 'sleep 341 & sleep 342']),
          await exec(['sleep', '343'], interactive),
        ];
        await until(async () => (await sleeping()).length === 4, 'they run');
        await stage.restart({ kill });
        await Promise.all(clients.map(({ closed }) => closed));
        assert.deepEqual(await sleeping(), ['sleep 600']);
        assert.deepEqual(leftFiles(), []);
        assert.deepEqual(
          readdirSync(join(stage.folders.state, 'a')).filter((name) => name.startsWith('console')),
          [],
        );
      }
    });

    function describeLoad(): void {
      it('a slow reader slows the command, and does not fill the daemon’s memory', async () => {
        const client = await exec(['sh', '-c', 'head -c 200000000 /dev/zero']);
        client.socket.pause();
        const before = stage.daemon.usage().residentMiB;
        await pause(1_000);
        const grown = stage.daemon.usage().residentMiB - before;
        assert.ok(grown < 60, `it grew by ${grown} MiB`);
        client.socket.resume();
        assert.equal((await client.status).status, 'Success');
        assert.equal(client.bytes() - JSON.stringify(await client.status).length, 200_000_000);
      });

      it('many sessions at once each receive their own output', async () => {
        const texts = await Promise.all(
          Array.from({ length: 30 }, async (_, index) => {
            const client = await exec(['sh', '-c', `cat; echo ${index}`], { stdin: true });
            client.send(`in ${index}\n`);
            client.endInput();
            await client.status;
            return client.stdout();
          }),
        );
        assert.deepEqual(
          texts,
          Array.from({ length: 30 }, (_, index) => `in ${index}\n${index}\n`),
        );
      });
    }

    function describeAttach(): void {
      describe('attach', () => {
        const attach = async (id: string, streams: object): Promise<string> =>
          (await runtime().attach({ containerId: id, ...plain, ...streams })).url;

        it('transfers input and both outputs; the end of the container is reported as success', async () => {
          const id = await runContainer(stage, pod, {
            image,
            name: 'cat',
            command: [
              'sh',
              '-c',
              'while read line; do [ "$line" = end ] && exit 3; echo "got $line"; echo "err $line" >&2; done; echo eof; sleep 600',
            ],
            more: { stdin: true },
          });
          const first = await openCommand(await attach(id, { stdin: true }));
          first.send('a\n');
          await until(() => first.stdout() === 'got a\n' && first.stderr() === 'err a\n', 'the answer');
          // Input stays open for the next client.
          first.endInput();
          first.drop();
          const second = await openCommand(await attach(id, { stdin: true }));
          await pause(100);
          second.send('b\n');
          await until(() => second.stdout() === 'got b\n', 'the second answer');
          second.send('end\n');
          assert.equal((await second.status).status, 'Success');
          assert.equal((await exitOf(stage, id)).exitCode, 3);
          assert.equal((await failureOf(attach(id, {}))).code, 'RUNTIME_CONTAINER_WRONG_STATE');
        });

        it('with stdin_once, input ends with its first client', async () => {
          const id = await runContainer(stage, pod, {
            image,
            name: 'once',
            command: ['sh', '-c', 'cat; exit 6'],
            more: { stdin: true, stdinOnce: true },
          });
          const client = await openCommand(await attach(id, { stdin: true }));
          client.send('x'.repeat(100_000));
          client.endInput();
          await client.status;
          assert.equal(client.stdout().length, 100_000);
          assert.equal((await exitOf(stage, id)).exitCode, 6);
        });

        for (const tty of [false, true])
          it(`a client that ends its input receives the answer and disconnects; the container stays (${tty ? 'a terminal' : 'no terminal'})`, async () => {
            const id = await runContainer(stage, pod, {
              image,
              name: tty ? 'detached-tty' : 'detached',
              command: ['sh', '-c', 'while read line; do echo "got $line"; done; echo eof; sleep 600'],
              more: { stdin: true, tty },
            });
            for (const word of ['one', 'two']) {
              const client = await openCommand(await attach(id, tty ? interactive : { stdin: true }));
              client.send(`${word}\n`);
              client.endInput();
              await Promise.race([
                client.status,
                pause(10_000).then(() => assert.fail('the session does not end')),
              ]);
              assert.match(client.stdout(), new RegExp(`^(${word}\r\n)?got ${word}\r?\n$`));
            }
            assert.equal((await runtime().containerStatus({ containerId: id })).status?.state, 1);
          });

        it('a terminal is resized', async () => {
          const id = await runContainer(stage, pod, {
            image,
            name: 'tty',
            command: ['sh', '-c', 'while read line; do stty size; done'],
            more: { stdin: true, tty: true },
          });
          const client = await openCommand(await attach(id, interactive));
          for (const columns of [50, 60, 70]) client.resize(columns, 20);
          await pause(300);
          client.send('\n');
          await until(() => client.stdout().includes('20 70') || client.socket.readyState > 1, 'the size');
          assert.match(client.stdout(), /20 70/);
          client.drop();
          assert.equal((await runtime().containerStatus({ containerId: id })).status?.state, 1);
        });

        it('a client that does not read does not stop the container for others', async () => {
          const id = await runContainer(stage, pod, {
            image,
            name: 'chatty',
            command: ['sh', '-c', 'while :; do echo tick; sleep 0.05; done'],
          });
          const [slow, quick] = [
            await openCommand(await attach(id, {})),
            await openCommand(await attach(id, {})),
          ];
          slow.socket.pause();
          await until(() => quick.stdout().split('tick').length > 5, 'the other hears');
          slow.drop();
          quick.drop();
        });
      });
    }

    function describePortForward(): void {
      describe('port-forward', () => {
        const web = [
          'sh',
          '-c',
          'head -c 67108864 /dev/urandom > /www/big; httpd -p 127.0.0.1:80 -h /www; httpd -p [::1]:81 -h /www; nc -ll -p 82 -e cat & exec sleep 600',
        ];
        let other: Pod;
        let webId = '';
        before(async () => {
          other = await runPod(stage, 'web', {}, runtimeHandler);
          webId = await runContainer(stage, other, { image, command: web });
          await until(
            async () =>
              (await execute(stage, webId, 'sh', '-c', 'netstat -ltn | grep -c LISTEN')).stdout.trim() >= '2',
            'servers listen',
          );
        });
        const forwardUrl = async (port: number[] = [], podSandboxId = other.id) =>
          (await runtime().portForward({ podSandboxId, port })).url;
        const pair = (client: Awaited<ReturnType<typeof openSpdy>>, port: number, requestid = '0') => {
          const error = client.open({ streamtype: 'error', port: String(port), requestid });
          return { error, data: client.open({ streamtype: 'data', port: String(port), requestid }) };
        };

        it('64 MiB arrive intact, and IPv4 and IPv6 loopback are reached', async () => {
          const { createHash } = await import('node:crypto');
          const hash = createHash('sha256');
          let [head, size] = ['', 0];
          const client = await openSpdy(await forwardUrl(), 'portforward.k8s.io', (stream, bytes) => {
            if (stream !== 3) return;
            const text = head.includes('\r\n\r\n') ? bytes : bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
            if (!head.includes('\r\n\r\n')) head += bytes.toString('latin1', 0, bytes.length - text.length);
            hash.update(text);
            size += text.length;
          });
          const { data } = pair(client, 80);
          client.send(data, Buffer.from('GET /big HTTP/1.0\r\n\r\n'));
          await until(() => size === 67_108_864, 'all bytes');
          const [expected] = (await execute(stage, webId, 'sha256sum', '/www/big')).stdout.split(' ');
          assert.equal(hash.digest('hex'), expected);
          client.drop();
          const six = await openSpdy(await forwardUrl(), 'portforward.k8s.io');
          const streams = pair(six, 81);
          six.send(streams.data, Buffer.from('GET / HTTP/1.0\r\n\r\n'));
          await until(() => six.ended(streams.data), 'the page');
          assert.match(six.received(streams.data).toString(), /a page/);
          six.drop();
        });

        it('several connections of one client are half-closed separately', async () => {
          const client = await openSpdy(await forwardUrl(), 'portforward.k8s.io');
          const pairs = [1, 2, 3].map((number) => pair(client, 82, String(number)));
          for (const [index, { data }] of pairs.entries())
            client.send(data, Buffer.from(`hello ${index}`), true);
          await until(
            () => pairs.every(({ data, error }) => client.ended(data) && client.ended(error)),
            'all end',
          );
          assert.deepEqual(
            pairs.map(({ data, error }) => [
              client.received(data).toString(),
              client.received(error).toString(),
            ]),
            [0, 1, 2].map((index) => [`hello ${index}`, '']),
          );
          client.drop();
        });

        it('a port without a listener is reported as other runtimes report it', async () => {
          const client = await openSpdy(await forwardUrl(), 'portforward.k8s.io');
          const { error, data } = pair(client, 83);
          await until(() => client.ended(error) && client.ended(data), 'both end');
          assert.match(
            client.received(error).toString(),
            /^error forwarding port 83 to pod [0-9a-f]{64}, uid : failed to execute portforward in network namespace .*dial tcp4 127\.0\.0\.1:83: connect: connection refused.*\[::1\]:83: connect: connection refused/,
          );
          client.drop();
        });

        it('a pod that has stopped is reported as other runtimes report it', async () => {
          const stopped = await runPod(stage, 'stopped', {}, runtimeHandler);
          const client = await openSpdy(await forwardUrl([], stopped.id), 'portforward.k8s.io');
          await removePod(stage, stopped);
          const { error } = pair(client, 80);
          await until(() => client.ended(error), 'the error');
          assert.equal(
            client.received(error).toString(),
            `error forwarding port 80 to pod ${stopped.id}, uid : network namespace for sandbox "${stopped.id}" is closed`,
          );
          client.drop();
        });

        it('ports that the request names are reached over WebSocket channels', async () => {
          const { WebSocket } = await import('ws');
          const socket = new WebSocket((await forwardUrl([80, 83])).replace('http', 'ws'), [
            'v4.channel.k8s.io',
          ]);
          const channels: Buffer[][] = [[], [], [], []];
          socket.on('message', (bytes: Buffer) => channels[bytes.readUInt8(0)]?.push(bytes.subarray(1)));
          await new Promise((resolve) => socket.once('open', resolve));
          socket.send(Buffer.concat([Buffer.from([0]), Buffer.from('GET / HTTP/1.0\r\n\r\n')]));
          await new Promise((resolve) => socket.once('close', resolve));
          const [data = [], error = [], , refused = []] = channels;
          assert.deepEqual(
            [data[0]?.readUInt16LE(), error[0]?.readUInt16LE(), refused[0]?.readUInt16LE()],
            [80, 80, 83],
          );
          assert.match(Buffer.concat(data.slice(1)).toString(), /a page/);
          assert.equal(error.length, 1);
          assert.match(Buffer.concat(refused.slice(1)).toString(), /connection refused/);
        });

        it('a pod with the host network namespace is reached in that namespace', async () => {
          const host = await runPod(
            stage,
            'host',
            { linux: { securityContext: { namespaceOptions: { network: 2, pid: 1, ipc: 0 } } } },
            runtimeHandler,
          );
          const { createServer } = await import('node:http');
          const server = createServer((_request, response) => response.end('of the host')).listen(
            0,
            '127.0.0.1',
          );
          await new Promise((resolve) => server.once('listening', resolve));
          const client = await openSpdy(await forwardUrl([], host.id), 'portforward.k8s.io');
          const { data } = pair(client, (server.address() as { port: number }).port);
          client.send(data, Buffer.from('GET / HTTP/1.0\r\n\r\n'));
          await until(() => client.received(data).includes('of the host'), 'the page');
          client.drop();
          server.close();
          await removePod(stage, host);
        });
      });
    }

    function describeUrls(): void {
      describe('URLs', () => {
        it('are valid for one use and one method, and cannot be guessed', async () => {
          const url = await execUrl(['true']);
          const upgrade = {
            Connection: 'Upgrade',
            Upgrade: 'SPDY/3.1',
            'X-Stream-Protocol-Version': 'v4.channel.k8s.io',
          };
          assert.equal(new URL(url).hostname, '127.0.0.1');
          assert.equal(await statusOf(url.replace('/exec/', '/attach/'), upgrade), 404);
          assert.equal(await statusOf(url, upgrade), 404, 'the request with a wrong method has used the URL');
          const second = await execUrl(['true']);
          assert.equal(await statusOf(second, upgrade), 101);
          assert.equal(await statusOf(second, upgrade), 404);
          assert.equal(await statusOf(`${second.slice(0, -3)}abc`, upgrade), 404);
          assert.equal(await statusOf(new URL('/', url).href, upgrade), 404);
          assert.equal(await statusOf(second), 400);
        });

        it('of a container that has ended, or was removed, report this', async () => {
          const own = await runPod(stage, 'ended', {}, runtimeHandler);
          const id = await runContainer(stage, own, { image, command: ['sleep', '600'] });
          const { url: exec } = await runtime().exec({ containerId: id, cmd: ['true'], ...plain });
          const { url: attach } = await runtime().attach({ containerId: id, ...plain });
          await removePod(stage, own);
          const messages = [attach, exec].map(async (url) => (await (await openCommand(url)).status).message);
          assert.deepEqual(await Promise.all(messages), [
            'Internal error occurred: error attaching to container: the container has ended',
            'Internal error occurred: error executing command in container: the container has been removed',
          ]);
        });

        it('a client without a supported protocol is refused', async () => {
          const upgrade = {
            Connection: 'Upgrade',
            Upgrade: 'SPDY/3.1',
            'X-Stream-Protocol-Version': 'v9.channel.k8s.io',
          };
          assert.equal(await statusOf(await execUrl(['true']), upgrade), 403);
          await assert.rejects(openCommand(await execUrl(['true']), 'v9.channel.k8s.io'));
          await assert.rejects(
            openSpdy(
              (await runtime().portForward({ podSandboxId: pod.id, port: [] })).url,
              'v4.channel.k8s.io',
            ),
            /403/,
          );
        });

        it('invalid requests get no URL', async () => {
          const codes = await Promise.all(
            [
              runtime().exec({
                containerId,
                cmd: ['true'],
                tty: false,
                stdin: false,
                stdout: false,
                stderr: false,
              }),
              runtime().exec({
                containerId,
                cmd: ['true'],
                tty: true,
                stdin: false,
                stdout: true,
                stderr: true,
              }),
              runtime().exec({ containerId, cmd: [], ...plain }),
              runtime().exec({ containerId: '', cmd: ['true'], ...plain }),
              runtime().exec({ containerId: 'f'.repeat(64), cmd: ['true'], ...plain }),
              runtime().attach({ containerId, tty: false, stdin: false, stdout: false, stderr: false }),
              runtime().portForward({ podSandboxId: pod.id, port: [0] }),
              runtime().portForward({ podSandboxId: pod.id, port: [65_536] }),
              runtime().portForward({ podSandboxId: '', port: [80] }),
            ].map(async (call) => (await failureOf(call)).kind),
          );
          assert.deepEqual(codes, [
            'invalid',
            'invalid',
            'invalid',
            'invalid',
            'not-found',
            'invalid',
            'invalid',
            'invalid',
            'invalid',
          ]);
          const created = await createContainer(stage, pod, { image, name: 'created', command: ['true'] });
          assert.equal(
            (await failureOf(runtime().exec({ containerId: created, cmd: ['true'], ...plain }))).kind,
            'precondition',
          );
        });
      });
    }

    function describeDropped(): void {
      it('dropped sessions leave nothing', async () => {
        const children = () =>
          readdirSync('/proc').filter((name) => /^\d+$/.test(name) && parentOf(name) === stage.daemon.pid)
            .length;
        const round = async () => {
          await Promise.all(
            Array.from({ length: 10 }, async (_, index) => {
              const client =
                index % 2 === 0
                  ? await exec(['sleep', '331'], { stdin: true })
                  : await openCommand((await runtime().attach({ containerId, ...plain })).url);
              client.drop();
            }),
          );
          await until(async () => (await sleeping()).length === 1 && leftFiles().length === 0, 'all is gone');
        };
        await round();
        const before = { ...stage.daemon.usage(), children: children() };
        for (let count = 0; count < 4; count += 1) await round();
        await until(
          () => stage.daemon.usage().descriptors <= before.descriptors && children() <= before.children,
          'descriptors and processes are as before',
        );
      });
    }
  });

function parentOf(pid: string): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return 0;
  }
}

describe('the streaming server', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-e2e-tls-'));
  let stage: Stage;
  let containerId = '';
  const certFile = join(folder, 'localhost.pem');
  before(async () => {
    makeCertificate(folder, 'localhost', { more: ['-addext', 'subjectAltName=IP:127.0.0.1'] });
    writeFileSync(
      join(folder, 'config.yaml'),
      'streaming: { tls: { certFile: localhost.pem, keyFile: localhost.key }, maxSessionsPerContainer: 2, idleTimeout: 3 }\n',
    );
    stage = await openStage({ flags: ['--config', join(folder, 'config.yaml')] });
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    containerId = await runContainer(stage, await runPod(stage, 'tls'), { image });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  it('ends an idle stream', async () => {
    const { url } = await stage.daemon.cri.runtime.exec({ containerId, cmd: ['sleep', '351'], ...plain });
    const client = await openCommand(url, undefined, { ca: readFileSync(certFile) });
    const began = performance.now();
    await client.closed;
    assert.ok(performance.now() - began > 2_000);
    await until(
      async () => !(await execute(stage, containerId, 'ps', '-o', 'args')).stdout.includes('sleep 351'),
      'its command goes',
    );
  });

  it('serves over TLS and enforces its limits, if configured', async () => {
    const { runtime } = stage.daemon.cri;
    const exec = async () => (await runtime.exec({ containerId, cmd: ['cat'], ...plain, stdin: true })).url;
    const url = await exec();
    assert.match(url, /^https:/);
    const client = await openCommand(url, undefined, { ca: readFileSync(certFile) });
    client.send('secret\n');
    await until(() => client.stdout() === 'secret\n', 'the echo');
    await exec();
    const failure = await failureOf(exec());
    assert.deepEqual([failure.code, failure.kind], ['RUNTIME_STREAMING_LIMIT', 'exhausted']);
    client.endInput();
    await client.status;
    await until(
      async () => (await exec().catch(() => '')) !== '',
      'the end of a session allows another session',
    );
  });
});
