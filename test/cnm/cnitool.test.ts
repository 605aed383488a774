import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { inPrivateNetns, tried } from '../../cni-plugins/engine/engine.fixture.ts';
import { createInstalledFixture, writeConflist } from '../../cni-plugins/bin/plugins.fixture.ts';
import type { InstalledFixture, Run } from '../../cni-plugins/bin/plugins.fixture.ts';
import { peers, repository } from '../conformance/endpoint.ts';
import { createRemoteDriver, whyNoDriver } from './remote-driver.ts';
import type { RemoteDriver } from './remote-driver.ts';

/**
 * `portcullis-cnm` by cnitool and by hand, with a remote driver built on docker's own helpers, which creates
 * real links.
 */
const cnitool = join(peers, 'bin/cnitool');
const kills = Number(process.env['PORTCULLIS_CNM_KILLS'] ?? 0);
const missing =
  kills === 0
    ? 'minutes long: npm run test:cnm'
    : whyNoDriver === false && !existsSync(cnitool)
      ? 'no cnitool: build it with test/peers/get cnitool'
      : whyNoDriver;
const seed = Number(process.env['PORTCULLIS_CNM_SEED'] ?? 1);

if (inPrivateNetns(import.meta.filename, 120_000 + kills * 10_000)) {
  describe('portcullis-cnm and a third-party remote driver', { skip: missing }, () => {
    let fixture: InstalledFixture;
    let driver: RemoteDriver;
    before(async () => {
      fixture = createInstalledFixture();
      driver = createRemoteDriver(fixture.folder, 'helpers', { netns: join(fixture.folder, 'netns/host') });
      await driver.start();
    });
    after(async () => {
      await driver.stop();
      await fixture.end();
    });

    const host = (command: string): string =>
      fixture.inside(join(fixture.folder, 'netns/host'), `sh -c '${command}'`) ?? '';
    const leftovers = (): string =>
      [
        ...driver.held(),
        ...host('ip -o link')
          .split('\n')
          .filter((line) => /: c[bhp]/u.test(line)),
      ].join('\n');
    const plugin = (more: object = {}): object => ({
      type: 'portcullis-cnm',
      driver: 'helpers',
      socketDirs: [driver.sockets],
      capabilities: { portMappings: true },
      ipam: { type: 'cnm', driver: 'helpers-ipam', pools: [{ pool: '10.60.0.0/24' }] },
      ...more,
    });
    const ownAddresses = {
      type: 'portcullis-ipam',
      ranges: [[{ subnet: '10.61.0.0/24' }], [{ subnet: 'fd00:61::/64' }]],
    };

    for (const mode of ['without a daemon', 'with a daemon'] as const)
      it(`cnitool adds, checks and deletes: ${mode}`, async () => {
        if (mode === 'with a daemon') await fixture.up();
        try {
          for (const [label, more, subnet] of [
            ['its addresses', {}, '10.60.0'],
            ['our addresses', { ipam: ownAddresses, driverOptions: { route: '192.0.2.0/24' } }, '10.61.0'],
            ['addresses that only the driver gives', { ipam: {} }, '10.231.0'],
          ] as const) {
            const pods = ['a', 'b'].map((name) =>
              fixture.pin(`${mode.split(' ')[0] ?? ''}-${label.split(' ')[0] ?? ''}-${name}`),
            );
            const name = `${mode}-${label}`.replaceAll(/\W/gu, '-');
            const confDir = writeConflist(fixture.folder, name, '1.1.0', [plugin(more)]);
            const run = async (verb: string, netns: string, args = {}): Promise<Run> => {
              const done = await fixture.run([cnitool, verb, name, netns], {
                NETCONFPATH: confDir,
                CNI_PATH: fixture.binDir,
                CNI_IFNAME: 'eth0',
                CAP_ARGS: JSON.stringify(args),
              });
              assert.equal(done.code, 0, `${verb}: ${done.stdout}${done.stderr}`);
              return done;
            };
            const ports = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] };
            const results = [
              JSON.parse((await run('add', pods[0] ?? '', ports)).stdout),
              JSON.parse((await run('add', pods[1] ?? '')).stdout),
            ] as {
              ips: { address: string }[];
            }[];
            const [a, b] = results.map(({ ips }) => ips[0]?.address.replace(/\/.*$/u, '') ?? '');
            assert.ok(a?.startsWith(`${subnet}.`) && b?.startsWith(`${subnet}.`), JSON.stringify(results));
            assert.ok(
              fixture.inside(pods[0] ?? '', `busybox ping -c1 -W5 ${b}`),
              'one pod reaches the other',
            );
            assert.match(
              fixture.inside(pods[1] ?? '', 'ip route') ?? '',
              new RegExp(`default via ${subnet}.1`, 'u'),
            );
            if (label === 'our addresses') {
              assert.match(
                fixture.inside(pods[1] ?? '', 'ip route') ?? '',
                /192\.0\.2\.0\/24 dev eth0 scope link/u,
              );
              assert.match(fixture.inside(pods[1] ?? '', 'ip -6 route') ?? '', /default via fd00:61::1/u);
            }
            // A host port: the pod answers a client that connects to the host.
            const server = spawn(
              'nsenter',
              [`--net=${pods[0] ?? ''}`, 'busybox', 'nc', '-l', '-p', '80', '-e', 'echo', 'hello'],
              {
                stdio: 'ignore',
              },
            );
            try {
              let said = '';
              for (let tries = 0; said === '' && tries < 100; tries += 1)
                said = host('busybox nc -w 2 127.0.0.1 8080 < /dev/null; sleep 0.05');
              assert.match(said, /hello/u);
            } finally {
              server.kill('SIGKILL');
            }
            await run('check', pods[0] ?? '', ports);
            await run('del', pods[0] ?? '', ports);
            await run('del', pods[0] ?? '', ports);
            // Its namespace is gone before DEL.
            tried(`umount ${pods[1] ?? ''}`);
            await run('del', pods[1] ?? '');
            assert.equal(leftovers(), '', label);
            assert.equal(fixture.attachments(), 0);
          }
        } finally {
          await fixture.down();
        }
      });

    const ports = {
      runtimeConfig: { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'tcp' }] },
    };
    const conf = (more: object = {}): string =>
      JSON.stringify({ cniVersion: '1.1.0', name: 'killed', ...plugin({ ipam: ownAddresses, ...more }) });
    const environment = (verb: string, id: string, netns: string): Record<string, string> => ({
      CNI_COMMAND: verb,
      CNI_CONTAINERID: id,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: fixture.binDir,
    });
    const program = (): string => join(fixture.binDir, 'portcullis-cnm');

    it('our own remote driver, which docker uses, serves pods as well: ADD, CHECK, DEL and GC on one database', async () => {
      const netns = join(fixture.folder, 'netns/host');
      const places = [
        '--root',
        join(fixture.folder, 'data'),
        '--conf-dir',
        join(fixture.folder, 'no-conf'),
        '--state',
        join(fixture.folder, 'state'),
      ];
      const socket = join(driver.sockets, 'portcullis.sock');
      const own = spawn(
        'nsenter',
        [
          `--net=${netns}`,
          join(repository, 'packaging/bin/portcullis'),
          'network',
          'docker-driver',
          '--socket',
          socket,
          ...places,
        ],
        {
          stdio: ['ignore', 'inherit', 'inherit'],
          env: { ...process.env, PORTCULLIS_SOURCE: '1' },
        },
      );
      try {
        for (let tries = 0; !existsSync(socket) && tries < 600; tries += 1)
          await new Promise((resolve) => setTimeout(resolve, 50));
        const config = {
          cniVersion: '1.1.0',
          name: 'own',
          ...plugin({
            driver: 'portcullis',
            ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.62.0.0/24' }]] },
            ...ports,
          }),
        };
        const call = async (verb: string, id: string, more: object = {}): Promise<Run> => {
          const done = await fixture.run(
            [program()],
            environment(verb, id, join(fixture.folder, 'netns', id)),
            JSON.stringify({ ...config, ...more }),
          );
          assert.equal(done.code, 0, `${verb} ${id}: ${done.stdout}${done.stderr}`);
          return done;
        };
        for (const id of ['own1', 'own2']) fixture.pin(id);
        const [first] = [await call('ADD', 'own1'), await call('ADD', 'own2', { runtimeConfig: {} })];
        const result = JSON.parse(first.stdout) as { ips: { address: string }[] };
        const address = result.ips[0]?.address.replace(/\/.*$/u, '') ?? '';
        assert.match(address, /^10\.62\.0\./u);
        assert.ok(
          fixture.inside(join(fixture.folder, 'netns/own2'), `busybox ping -c1 -W5 ${address}`),
          'one pod reaches the other',
        );
        await call('CHECK', 'own1', { prevResult: result });
        await call('DEL', 'own1');
        await call('GC', '', { 'cni.dev/valid-attachments': [] });
        assert.equal(fixture.attachments(), 0);
        assert.doesNotMatch(host('ip -o link'), /veth|: pc/u);
      } finally {
        const ended = new Promise((resolve) => own.once('exit', resolve));
        own.kill('SIGTERM');
        await ended;
      }
    });

    it('a restarted driver continues with its state; STATUS reports an absent driver', async () => {
      const netns = fixture.pin('restart');
      assert.equal((await fixture.run([program()], environment('ADD', 'restart', netns), conf())).code, 0);
      assert.equal(
        (await fixture.run([program()], { CNI_COMMAND: 'STATUS', CNI_PATH: fixture.binDir }, conf())).code,
        0,
      );
      await driver.stop();
      const away = await fixture.run(
        [program()],
        { CNI_COMMAND: 'STATUS', CNI_PATH: fixture.binDir },
        conf(),
      );
      assert.equal((JSON.parse(away.stdout) as { code: number }).code, 50, away.stdout);
      assert.match(away.stdout, /helpers/u);
      // The driver comes back while a call waits for it.
      const waiting = fixture.run([program()], environment('DEL', 'restart', netns), conf());
      await driver.start();
      assert.equal((await waiting).code, 0);
      assert.equal(leftovers(), '');
    });

    it(`leaves nothing in the driver and on the host when it is killed at ${kills} random moments`, async (t) => {
      t.diagnostic(`PORTCULLIS_CNM_SEED=${seed}`);
      let random = seed;
      const next = (): number => (random = (random * 48271) % 2147483647) / 2147483647;
      await driver.stop();
      const slow = createRemoteDriver(fixture.folder, 'helpers', {
        netns: join(fixture.folder, 'netns/host'),
        delayMs: 25,
      });
      await slow.start();
      driver = slow;
      // Measures how long a whole call takes here, so that the kills cover all of it.
      const measure = async (verb: string, netns: string): Promise<number> => {
        const started = performance.now();
        const done = await fixture.run([program()], environment(verb, 'measure', netns), conf());
        assert.equal(done.code, 0, done.stdout);
        return performance.now() - started;
      };
      const pod = fixture.pin('measure');
      const [adding, deleting] = [await measure('ADD', pod), await measure('DEL', pod)];
      let cut = 0;
      for (let at = 0; at < kills; at += 1) {
        const [id, netns] = [`kill${at}`, fixture.pin(`kill${at}`)];
        const verb = at % 3 === 2 ? 'DEL' : 'ADD';
        if (verb === 'DEL')
          assert.equal((await fixture.run([program()], environment('ADD', id, netns), conf())).code, 0);
        const child = spawn('nsenter', [`--net=${join(fixture.folder, 'netns/host')}`, program()], {
          env: { PATH: process.env['PATH'] ?? '', ...environment(verb, id, netns) },
          stdio: ['pipe', 'ignore', 'ignore'],
        });
        const ended = new Promise<string | null>((resolve) =>
          child.once('exit', (_code, signal) => resolve(signal)),
        );
        child.stdin.on('error', () => undefined);
        child.stdin.end(conf());
        const timer = setTimeout(() => child.kill('SIGKILL'), next() * (verb === 'ADD' ? adding : deleting));
        if ((await ended) === 'SIGKILL') cut += 1;
        clearTimeout(timer);
        // The reaction of a runtime whose call failed: DEL, with the namespace or after it is gone.
        if (next() < 0.3) tried(`umount ${netns}`);
        const del = await fixture.run([program()], environment('DEL', id, netns), conf());
        assert.equal(del.code, 0, `after kill ${at} of ${verb}: ${del.stdout}`);
        assert.equal(leftovers(), '', `after kill ${at} of ${verb}`);
        assert.equal(fixture.attachments(), 0, `after kill ${at} of ${verb}`);
      }
      t.diagnostic(`${cut} of ${kills} were cut`);
      assert.ok(cut > kills / 4, `only ${cut} calls were cut`);
    });

    it('GC removes an attachment whose ADD was killed and that was never deleted', async () => {
      const netns = fixture.pin('collected');
      const child = spawn('nsenter', [`--net=${join(fixture.folder, 'netns/host')}`, program()], {
        env: { PATH: process.env['PATH'] ?? '', ...environment('ADD', 'collected', netns) },
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.stdin.end(conf());
      const log = join(fixture.folder, 'helpers.log');
      driver.verbs();
      for (
        let tries = 0;
        tries < 400 && !readFileSync(log, 'utf8').trimEnd().split('\n').at(-1)?.startsWith('Join ');
        tries += 1
      )
        await new Promise((resolve) => setTimeout(resolve, 10));
      child.kill('SIGKILL');
      await ended;
      const gc = { ...(JSON.parse(conf()) as object), 'cni.dev/valid-attachments': [] };
      const collected = await fixture.run(
        [program()],
        { CNI_COMMAND: 'GC', CNI_PATH: fixture.binDir },
        JSON.stringify(gc),
      );
      assert.equal(collected.code, 0, collected.stdout);
      assert.equal(leftovers(), '');
      assert.equal(fixture.attachments(), 0);
    });
  });
}
