import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { O_RDWR, closeFd, lockFile, openFile, unlockFile } from '../../base/kernel/index.ts';
import { eventually, inPrivateNetns, tried } from '../engine/engine.fixture.ts';
import { createInstalledFixture } from './plugins.fixture.ts';
import type { InstalledFixture, Run } from './plugins.fixture.ts';

/**
 * Which side acts on a call when daemon and client miss each other (cni/server/frames.ts): exactly one of
 * them, or neither.
 */
const conf = {
  ...{ cniVersion: '1.0.0', name: 'races', type: 'portcullis-bridge', bridge: 'rbr0' },
  ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.78.0.0/24' }]] },
};
const input = JSON.stringify(conf);

if (inPrivateNetns(import.meta.filename, 600_000)) {
  describe('the protocol of the thin client', () => {
    let fixture: InstalledFixture;
    let daemon: ChildProcess | undefined;
    let server: Server | undefined;
    const connections = new Set<Socket>();
    const endPretence = async (): Promise<void> => {
      const closing = server;
      server = undefined;
      for (const socket of connections) socket.destroy();
      connections.clear();
      if (closing !== undefined) await new Promise((resolve) => closing.close(resolve));
    };
    before(() => {
      fixture = createInstalledFixture();
    });
    afterEach(async () => {
      const ending = daemon;
      daemon = undefined;
      if (ending !== undefined) {
        ending.kill('SIGCONT');
        const ended = once(ending, 'exit');
        ending.stdin?.end();
        await ended;
      }
      await endPretence();
    });
    after(() => fixture.end());

    const startDaemon = async (): Promise<ChildProcess> => {
      const program = join(import.meta.dirname, 'daemon.fixture.ts');
      const child = spawn(
        process.execPath,
        [...flagsOfSources(), program, join(fixture.folder, 'data', 'network.db'), fixture.socket],
        {
          stdio: ['pipe', 'pipe', 'inherit'],
        },
      );
      daemon = child;
      await once(child.stdout, 'data');
      return child;
    };
    const pretend = async (onConnection: (socket: Socket) => void): Promise<void> => {
      const opened = createServer((socket) => {
        connections.add(socket);
        onConnection(socket);
      });
      server = opened;
      await new Promise<void>((resolve) => opened.listen(fixture.socket, resolve));
    };
    const environment = (verb: string, id: string, netns: string): Record<string, string> => ({
      ...{
        CNI_COMMAND: verb,
        CNI_CONTAINERID: id,
        CNI_NETNS: netns,
        CNI_IFNAME: 'eth0',
        CNI_PATH: fixture.binDir,
      },
    });
    const program = (): string => join(fixture.binDir, 'portcullis-bridge');
    const call = (verb: string, id: string, netns: string): Promise<Run> =>
      fixture.run([program()], environment(verb, id, netns), input);
    /** A call whose standard input the test writes. */
    const slowCall = (
      env: Record<string, string>,
    ): { readonly child: ChildProcess; readonly run: Promise<Run> } => {
      const child = spawn(program(), {
        env: { PATH: process.env['PATH'] ?? '', ...env },
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      let [stdout, stderr] = ['', ''];
      child.stdout.on('data', (chunk) => (stdout += String(chunk)));
      child.stderr.on('data', (chunk) => (stderr += String(chunk)));
      return {
        child,
        run: once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr })),
      };
    };
    /** A call from the namespace of this test, which represents another host. */
    const callFromHere = (verb: string, id: string, netns: string): Promise<Run> => {
      const { child, run } = slowCall(environment(verb, id, netns));
      child.stdin?.end(input);
      return run;
    };
    const addresses = (netns: string): string => fixture.inside(netns, 'ip -4 -br address show') ?? '';
    const isOne = async (id: string, netns: string, made: Run, from = call): Promise<void> => {
      assert.equal(made.code, 0, made.stdout);
      const [ip] = (JSON.parse(made.stdout) as { ips: { address: string }[] }).ips;
      assert.equal(fixture.attachments(), 1);
      assert.equal(addresses(netns).split(ip?.address ?? '-').length, 2, addresses(netns));
      assert.equal((await from('DEL', id, netns)).code, 0);
      assert.equal(fixture.attachments(), 0);
      assert.equal(fixture.inside(netns, 'ip link show eth0'), undefined);
    };

    it('creates one attachment if the daemon is stopped, and continued after the client has acted without it', async () => {
      const child = await startDaemon();
      const pod = fixture.pin('stopped');
      assert.equal((await call('DEL', 'warm', pod)).code, 0);
      child.kill('SIGSTOP');
      const made = await call('ADD', 'stopped', pod);
      child.kill('SIGCONT');
      // Calls are read in the order of arrival, so earlier calls have finished.
      for (let times = 0; times < 3; times += 1) assert.equal((await call('STATUS', '', '')).code, 1);
      await sleep(200);
      await isOne('stopped', pod, made);
    });

    it('loses nothing to a daemon that comes back while the client acts', async () => {
      const child = await startDaemon();
      const pod = fixture.pin('comes-back');
      assert.equal((await call('DEL', 'warm', pod)).code, 0);
      child.kill('SIGSTOP');
      const making = call('ADD', 'comes-back', pod);
      await sleep(2050);
      child.kill('SIGCONT');
      await isOne('comes-back', pod, await making);
    });

    it('leaves nothing if the caller is killed before the daemon acts', async () => {
      const child = await startDaemon();
      const pod = fixture.pin('killed');
      assert.equal((await call('DEL', 'warm', pod)).code, 0);
      child.kill('SIGSTOP');
      const { child: client, run } = slowCall(environment('ADD', 'killed', pod));
      client.stdin?.end(input);
      await sleep(300);
      client.kill('SIGKILL');
      await run;
      child.kill('SIGCONT');
      assert.equal((await call('CHECK', 'killed', pod)).code, 1);
      await sleep(200);
      assert.equal(fixture.attachments(), 0);
      assert.equal(fixture.inside(pod, 'ip link show eth0'), undefined);
    });

    it('leaves nothing if the caller is killed while the daemon acts', async () => {
      await startDaemon();
      const pod = fixture.pin('acting');
      assert.equal((await call('DEL', 'warm', pod)).code, 0);
      const lock = openFile(join(fixture.folder, 'data', 'network.db.lock'), O_RDWR);
      lockFile(lock);
      const { child: client, run } = slowCall(environment('ADD', 'acting', pod));
      client.stdin?.end(input);
      await sleep(300);
      client.kill('SIGKILL');
      await run;
      unlockFile(lock);
      closeFd(lock);
      // Served after it, in the order of arrival.
      assert.equal((await callFromHere('DEL', 'next', pod)).code, 0);
      await eventually(
        () =>
          (fixture.attachments() === 0 && fixture.inside(pod, 'ip link show eth0') === undefined) ||
          undefined,
        10_000,
      );
      assert.equal((await call('DEL', 'acting', pod)).code, 0);
      assert.equal(fixture.attachments(), 0);
    });

    it('refuses a greeting that arrives after the client has decided to act without the daemon', async () => {
      let refused: string | undefined;
      await pretend((socket) => {
        socket.on('error', (error: NodeJS.ErrnoException) => (refused = error.code));
        setTimeout(() => socket.write('PCTCNI2n'), 2300);
      });
      const pod = fixture.pin('late');
      const made = await call('ADD', 'late', pod);
      await eventually(() => refused, 20_000);
      assert.equal(refused, 'EPIPE');
      await endPretence();
      await isOne('late', pod, made);
    });

    const traced = spawnSync('strace', ['-V']).error === undefined;
    it(
      'reports a failed call if the greeting arrives at the last moment',
      { skip: traced ? false : 'needs strace' },
      async () => {
        await pretend((socket) => {
          socket.on('error', () => undefined);
          setTimeout(() => socket.write('PCTCNI2n'), 2500);
        });
        const pod = fixture.pin('moment');
        const slowly = [
          'strace',
          '-o',
          '/dev/null',
          '-e',
          'trace=shutdown',
          '-e',
          'inject=shutdown:delay_enter=1500000',
        ];
        const run = await fixture.run([...slowly, program()], environment('ADD', 'moment', pod), input);
        assert.equal(run.code, 1, run.stdout);
        assert.equal((JSON.parse(run.stdout) as { code: number }).code, 11);
        assert.equal(fixture.attachments(), 0);
      },
    );

    it('works without the daemon if that supports only version 1', async () => {
      const heads: string[] = [];
      await pretend((socket) =>
        socket.once(
          'data',
          (chunk: Buffer) => void (heads.push(chunk.subarray(0, 7).toString()), socket.destroy()),
        ),
      );
      const pod = fixture.pin('older');
      const made = await call('ADD', 'older', pod);
      assert.deepEqual(heads, ['PCTCNI2']);
      await isOne('older', pod, made);
    });

    it('serves a client of version 1', async () => {
      await startDaemon();
      const pod = fixture.pin('newer');
      const strings = [
        'portcullis-bridge',
        ...Object.entries(environment('ADD', 'newer', pod)).map(([name, value]) => `${name}=${value}`),
        '',
      ];
      const bytes = Buffer.from(strings.join('\0'));
      const head = Buffer.alloc(24);
      head.write('PCTCNI1\0', 'latin1');
      head.writeBigUInt64LE(1n, 8);
      head.writeBigUInt64LE(BigInt(bytes.length), 16);
      const socket = connect(fixture.socket, () => socket.write(Buffer.concat([head, bytes])));
      const [greeting] = (await once(socket, 'data')) as [Buffer];
      assert.equal(greeting.toString('latin1'), 'PCTCNI1i');
      assert.equal(fixture.attachments(), 0);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(input.length));
      socket.write(Buffer.concat([length, Buffer.from(input)]));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      socket.destroy();
      assert.equal(answer.readBigUInt64LE(0), 0n, answer.toString());
      await isOne(
        'newer',
        pod,
        { code: 0, stdout: answer.subarray(24).toString(), stderr: '' },
        callFromHere,
      );
    });

    for (const [how, pieces] of [
      ['late', [input]],
      ['in two pieces', [input.slice(0, 9), input.slice(9)]],
    ] as const)
      for (const withDaemon of [true, false])
        it(`reads input that comes ${how}, ${withDaemon ? 'with' : 'without'} a daemon`, async () => {
          if (withDaemon) await startDaemon();
          else await pretend((socket) => void socket.destroy());
          const pod = fixture.pin(`${how} ${withDaemon}`.replaceAll(' ', '-'));
          const { child: client, run } = slowCall(environment('ADD', 'slow', pod));
          if (how !== 'late') client.stdin?.write(pieces[0]);
          await sleep(150);
          client.stdin?.end(pieces.at(-1));
          const made = await run;
          assert.equal(made.code, 0, made.stdout);
          assert.equal((await callFromHere('DEL', 'slow', pod)).code, 0);
          assert.equal(fixture.attachments(), 0);
          tried('ip link del rbr0');
        });

    it('does not wait for input that is not needed', async () => {
      await startDaemon();
      const { run } = slowCall({ CNI_COMMAND: 'ADD' });
      const { code, stdout } = await run;
      assert.equal(code, 1);
      assert.match(stdout, /required env variables/u);
    });
  });
}
