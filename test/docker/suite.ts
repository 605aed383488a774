/**
 * `npm run test:docker`: Debian's dockerd 20.10, unmodified and in private namespaces, on our remote driver:
 * with our own networks, with a conflist of our plugins, and with a conflist of Debian's CNI programs. Needs
 * `test/peers/get docker`, iptables and containernetworking-plugins.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { findDocker, startDocker } from '../fixtures/dockerd.ts';
import type { Docker } from '../fixtures/dockerd.ts';
import { daemonFolders, startDaemon } from '../fixtures/daemon.ts';
import { findTool } from '../fixtures/tools.ts';
import { driverIn } from './driver.ts';
import type { Driver } from './driver.ts';
import { leftovers } from './leftovers.ts';

const { skip } = findDocker();
const folder = mkdtempSync(join(tmpdir(), 'pct-docker-'));
const at = (name: string): string => join(folder, name);
const leases = at('leases');

const conflists = {
  ours: {
    cniVersion: '1.1.0',
    name: 'ours',
    plugins: [
      {
        type: 'portcullis-bridge',
        bridge: 'ours0',
        isDefaultGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: { type: 'portcullis-ipam', ranges: [[{ subnet: '10.67.0.0/24' }]] },
      },
      { type: 'portcullis-portmap', capabilities: { portMappings: true } },
    ],
  },
  debian: {
    cniVersion: '1.0.0',
    name: 'debian',
    plugins: [
      {
        type: 'bridge',
        bridge: 'deb0',
        isDefaultGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: { type: 'host-local', ranges: [[{ subnet: '10.66.0.0/24' }]], dataDir: leases },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  },
};

interface Kind {
  readonly name: string;
  readonly create: readonly string[];
  readonly gateway: string;
  /** The engine assigns addresses, so `--ip` applies. */
  readonly addressed?: string;
}

const kinds: readonly Kind[] = [
  {
    name: 'a bridge of our own',
    create: ['--subnet', '10.65.0.0/24'],
    gateway: '10.65.0.1',
    addressed: '10.65.0.77',
  },
  {
    name: 'a bridge of our own, our IPAM',
    create: ['--ipam-driver', 'portcullis', '--subnet', '10.65.0.0/24'],
    gateway: '10.65.0.1',
    addressed: '10.65.0.77',
  },
  { name: 'our plugins', create: ['--ipam-driver', 'null', '-o', 'conflist=ours'], gateway: '10.67.0.1' },
  {
    name: 'our plugins, docker’s addresses',
    create: ['--subnet', '10.67.0.0/24', '-o', 'conflist=ours'],
    gateway: '10.67.0.1',
    addressed: '10.67.0.77',
  },
  {
    name: 'Debian’s plugins',
    create: ['--ipam-driver', 'null', '-o', `conflist=${at('conf/debian.conflist')}`, '-o', 'plugins=exec'],
    gateway: '10.66.0.1',
  },
  {
    name: 'Debian’s plugins, docker’s addresses',
    create: ['--subnet', '10.66.0.0/24', '-o', 'conflist=debian', '-o', 'plugins=exec'],
    gateway: '10.66.0.1',
    addressed: '10.66.0.77',
  },
];

const serve = ['busybox', 'sh', '-c', 'hostname > /www/index.html; exec httpd -f -p 80 -h /www'] as const;
const patience = 30_000;

/** Returns the answer of an HTTP server to a request from the host. */
async function page(address: string, port = 80): Promise<string> {
  for (const late = performance.now() + patience; ; await pause(100)) {
    try {
      return (
        await (await fetch(`http://${address}:${port}/`, { signal: AbortSignal.timeout(2000) })).text()
      ).trim();
    } catch (thrown) {
      if (performance.now() > late) throw new Error(`${address}:${port} does not answer`, { cause: thrown });
    }
  }
}

const closed = async (address: string, port: number): Promise<boolean> =>
  fetch(`http://${address}:${port}/`, { signal: AbortSignal.timeout(2000) }).then(
    () => false,
    () => true,
  );

describe('docker on the remote driver', { skip }, () => {
  let docker: Docker;
  let driver: Driver;

  const addressOf = async (container: string, network: string): Promise<string> =>
    docker.ok('inspect', '-f', `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, container);
  const inside = (container: string, ...words: string[]): Promise<string> =>
    docker.ok('exec', container, ...words);
  const run = (name: string, network: string, ...more: string[]): Promise<string> =>
    docker.ok('run', '-d', '--name', name, '--hostname', name, '--network', network, ...more, ...serve);
  const reaches = async (from: string, address: string): Promise<boolean> =>
    (await docker.run('exec', from, 'ping', '-c', '1', '-W', '2', address)).code === 0;
  const resolves = async (from: string, name: string): Promise<string[]> => {
    const { stdout } = await docker.run('exec', from, 'nslookup', '-type=a', name, '127.0.0.11');
    return [...stdout.matchAll(/^Address: (?<address>[\d.]+)$/gmu)].map(
      (match) => match.groups?.['address'] ?? '',
    );
  };
  const removeAll = async (): Promise<void> => {
    const containers = (await docker.ok('ps', '-aq')).split('\n').filter((id) => id !== '');
    if (containers.length > 0) await docker.ok('rm', '-f', ...containers);
    await docker.ok('network', 'prune', '-f');
  };
  const assertClean = (): void =>
    assert.deepEqual(leftovers({ root: at('driver/root'), state: at('driver/state'), leases: [leases] }), []);

  before(async () => {
    mkdirSync(at('conf'));
    for (const [name, conflist] of Object.entries(conflists))
      writeFileSync(at(`conf/${name}.conflist`), JSON.stringify(conflist));
    docker = await startDocker({ folder: at('docker'), liveRestore: true });
    driver = driverIn({ folder: at('driver'), confDir: at('conf') });
    await docker.importBusybox();
    await driver.up();
  });
  after(async () => {
    await driver?.down('SIGTERM');
    await docker?.end();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    if (!driver.isUp()) await driver.up();
    if (!docker.isUp()) await docker.up();
    await removeAll();
    assertClean();
  });

  for (const kind of kinds)
    it(`${kind.name}: containers reach each other by address, name and alias; ports are published; nothing is left`, async () => {
      await docker.ok('network', 'create', '-d', 'portcullis', ...kind.create, 'net');
      await run('web', 'net', '-p', '8080:80', '--network-alias', 'site');
      await run(
        'other',
        'net',
        '--network-alias',
        'site',
        ...(kind.addressed === undefined ? [] : ['--ip', kind.addressed]),
      );
      const [web, other] = [await addressOf('web', 'net'), await addressOf('other', 'net')];
      if (kind.addressed !== undefined) assert.equal(other, kind.addressed);
      assert.match(await inside('web', 'ip', 'address', 'show', 'eth0'), new RegExp(`inet ${web}/24`, 'u'));
      assert.match(await inside('web', 'ip', 'route'), new RegExp(`default via ${kind.gateway} `, 'u'));
      assert.ok(await reaches('other', web), 'by address');
      assert.deepEqual(await resolves('other', 'web'), [web]);
      assert.deepEqual((await resolves('web', 'site')).toSorted(), [web, other].toSorted());
      assert.equal(await page(web), 'web');
      assert.equal(await page(kind.gateway, 8080), 'web', 'published');

      const shown = JSON.parse(await docker.ok('network', 'inspect', 'net')) as {
        Driver: string;
        Containers: Record<string, { IPv4Address: string }>;
      }[];
      assert.equal(shown[0]?.Driver, 'portcullis');
      assert.deepEqual(
        Object.values(shown[0].Containers)
          .map(({ IPv4Address }) => IPv4Address)
          .toSorted(),
        [`${web}/24`, `${other}/24`].toSorted(),
      );

      await docker.ok('stop', '-t', '0', 'web');
      assert.ok(await closed(kind.gateway, 8080), 'no longer published');
      await docker.ok('start', 'web');
      assert.equal(await page(kind.gateway, 8080), 'web', 'published again');
      assert.ok(await reaches('other', await addressOf('web', 'net')), 'the neighbours know it');

      await docker.ok('network', 'disconnect', 'net', 'other');
      assert.doesNotMatch(await inside('other', 'ip', '-o', 'link'), /eth0/u);
      await docker.ok('network', 'connect', '--alias', 'again', 'net', 'other');
      assert.deepEqual(await resolves('web', 'again'), [await addressOf('other', 'net')]);
    });

  it('a container is attached to several networks, and our networks are isolated from each other', async () => {
    await docker.ok('network', 'create', '-d', 'portcullis', '--subnet', '10.70.0.0/24', 'one');
    await docker.ok('network', 'create', '-d', 'portcullis', '--subnet', '10.71.0.0/24', 'two');
    await run('first', 'one');
    await run('second', 'two');
    await run('both', 'one');
    await docker.ok('network', 'connect', 'two', 'both');
    const [first, second] = [await addressOf('first', 'one'), await addressOf('second', 'two')];
    assert.ok(await reaches('both', first));
    assert.ok(await reaches('both', second));
    assert.ok(!(await reaches('first', second)), 'networks are apart');
    assert.ok(!(await reaches('second', first)), 'networks are apart');
    assert.deepEqual(await resolves('first', 'second'), []);
    assert.deepEqual(await resolves('both', 'second'), [second]);
  });

  it('--internal, --ipv6, --ip-range, --gateway, --aux-address, --ip, --mac-address and the MTU take effect', async () => {
    await docker.ok(
      ...[
        'network',
        'create',
        '-d',
        'portcullis',
        '--ipam-driver',
        'portcullis',
        '--subnet',
        '10.72.0.0/24',
        '--ip-range',
        '10.72.0.128/25',
      ],
      ...[
        '--gateway',
        '10.72.0.254',
        '--aux-address',
        'router=10.72.0.128',
        '--ipv6',
        '--subnet',
        'fd72::/64',
      ],
      ...['-o', 'com.docker.network.driver.mtu=1400', 'wide'],
    );
    await run('web', 'wide', '--mac-address', '02:00:5e:00:53:01');
    const shown = await inside('web', 'ip', 'address', 'show', 'eth0');
    assert.match(shown, /inet 10\.72\.0\.129\/24/u);
    assert.match(shown, /inet6 fd72::\d+\/64/u);
    assert.match(shown, /mtu 1400 /u);
    assert.match(shown, /link\/ether 02:00:5e:00:53:01/u);
    assert.match(await inside('web', 'ip', 'route'), /default via 10\.72\.0\.254 /u);
    await run('other', 'wide', '--ip', '10.72.0.9', '--ip6', 'fd72::99');
    assert.match(
      await inside('other', 'ip', 'address', 'show', 'eth0'),
      /inet 10\.72\.0\.9\/24[^]*inet6 fd72::99\/64/u,
    );
    assert.ok(await reaches('web', 'fd72::99'));

    await docker.ok(
      'network',
      'create',
      '-d',
      'portcullis',
      '--internal',
      '--subnet',
      '10.73.0.0/24',
      'closed',
    );
    await run('hidden', 'closed');
    assert.doesNotMatch(await inside('hidden', 'ip', 'route'), /default/u);
    assert.doesNotMatch(await inside('hidden', 'ip', '-o', 'link'), /eth1/u);
    await run('beside', 'closed');
    assert.ok(await reaches('hidden', await addressOf('beside', 'closed')));
    assert.ok(await closed(await addressOf('hidden', 'closed'), 80), 'not even the host reaches it');

    await docker.ok('network', 'create', '-d', 'portcullis', '--ipam-driver', 'portcullis', 'chosen');
    await run('any', 'chosen');
    assert.match(await addressOf('any', 'chosen'), /^10\.21[2-5]\./u);
  });

  it('host ports: any free port, a range, one address, udp; a port in use is refused and the attempt leaves nothing', async () => {
    await docker.ok('network', 'create', '-d', 'portcullis', '--subnet', '10.74.0.0/24', 'net');
    await run('one', 'net', '-p', '80', '-p', '9000-9001:90-91/udp', '-p', '10.74.0.1:8085:80');
    assert.equal(await page('10.74.0.1', 8085), 'one');
    assert.equal(await page('10.74.0.1', 49153), 'one');
    const { code, output } = await docker.run(
      'run',
      '-d',
      '--name',
      'two',
      '--network',
      'net',
      '-p',
      '9001:1/udp',
      ...serve,
    );
    assert.equal(code, 125);
    assert.match(output, /9001\/udp.*NETWORK_HOST_PORT_TAKEN/u);
    await docker.ok('rm', '-f', 'two');
    await run('two', 'net', '-p', '9001:1/tcp');
  });

  it('invalid requests are refused with a reason and leave nothing', async () => {
    const refused = async (reason: RegExp, ...words: string[]): Promise<void> => {
      const { code, output } = await docker.run('network', 'create', '-d', 'portcullis', ...words, 'bad');
      assert.equal(code, 1, output);
      assert.match(output, reason);
    };
    await refused(
      /no network of that name.*NETWORK_CNM_OPTION/u,
      '--ipam-driver',
      'null',
      '-o',
      'conflist=missing',
    );
    await refused(/ENOENT.*NETWORK_CNM_OPTION/u, '--ipam-driver', 'null', '-o', 'conflist=/nowhere.conflist');
    await refused(/no such option.*NETWORK_CNM_OPTION/u, '--subnet', '10.75.0.0/24', '-o', 'colour=red');
    await refused(/--ipam-driver null/u, '--subnet', '10.75.0.0/24', '-o', 'conflist=debian');
    await refused(/NETWORK_CNM_OPTION/u, '--ipam-driver', 'null');
    writeFileSync(
      at('conf/portless.conflist'),
      JSON.stringify({ ...conflists.ours, name: 'portless', plugins: [conflists.ours.plugins[0]] }),
    );
    await docker.createNetwork('portless');
    const { code, output } = await docker.run('run', '-d', '--network', 'portless', '-p', '80', ...serve);
    assert.equal(code, 125);
    assert.match(output, /NETWORK_CNM_PORTS/u);
  });

  for (const kind of [kinds[0], kinds[2], kinds[4]])
    it(`${kind?.name ?? ''}: the driver, dockerd, or both are killed and start again; containers continue`, async () => {
      await docker.ok('network', 'create', '-d', 'portcullis', ...(kind?.create ?? []), 'net');
      await run('web', 'net', '-p', '8080:80');
      const web = await addressOf('web', 'net');
      const exists = async (): Promise<void> => {
        assert.equal(await page(web), 'web');
        assert.equal(await page(kind?.gateway ?? '', 8080), 'web');
      };
      await driver.down('SIGKILL');
      await exists();
      await driver.up();
      await exists();
      await run('second', 'net');
      await docker.down('kill');
      await exists();
      await docker.up();
      await exists();
      await run('third', 'net');
      await docker.down('stop');
      await driver.down('SIGTERM');
      await driver.up();
      await docker.up();
      await exists();
      assert.ok(await reaches('third', web));
      await docker.ok('rm', '-f', 'second');
      // Removed while the driver is stopped: docker removes what it can, and the driver detects it later.
      await driver.down('SIGKILL');
      await docker.run('rm', '-f', 'third');
      await driver.up();
      await docker.ok('restart', '-t', '0', 'web');
      assert.equal(await page(kind?.gateway ?? '', 8080), 'web');
    });

  it('containers that were killed together with dockerd are released', async () => {
    await docker.ok('network', 'create', '-d', 'portcullis', '--subnet', '10.76.0.0/24', 'net');
    await run('web', 'net', '-p', '8080:80');
    const pid = await docker.ok('inspect', '-f', '{{.State.Pid}}', 'web');
    await docker.down('kill');
    await docker.beside('kill', '-9', pid);
    await driver.down('SIGKILL');
    await driver.up();
    await docker.up();
    await docker.ok('start', 'web');
    assert.equal(await page('10.76.0.1', 8080), 'web');
  });

  it('the daemon serves docker as well', async () => {
    await driver.down('SIGTERM');
    const folders = daemonFolders(at('daemon'));
    mkdirSync(at('daemon/policy'), { recursive: true });
    mkdirSync(folders.cniConf);
    writeFileSync(join(folders.cniConf, '10-ours.conflist'), JSON.stringify(conflists.ours));
    const config = at('daemon/config.yaml');
    writeFileSync(config, `network:\n  dockerDriver: ${driver.socket}\n`);
    const daemon = await startDaemon(folders, ['--config', config]);
    try {
      await docker.createNetwork('net', 'ours');
      await run('web', 'net', '-p', '8080:80');
      assert.equal(await page('10.67.0.1', 8080), 'web');
      assert.doesNotMatch(
        await docker.ok('ps'),
        /8080/u,
        'docker shows no ports of a remote driver: docs/docker.md says so',
      );
      assert.match(
        await docker.ok('inspect', '-f', '{{json .HostConfig.PortBindings}}', 'web'),
        /"HostPort":"8080"/u,
      );
      await removeAll();
    } finally {
      await daemon.stop();
    }
    assert.deepEqual(leftovers({ root: folders.root, state: folders.state, leases: [] }), []);
  });

  const dnet = findTool('dnet');
  it(
    'libnetwork alone (dnet) uses the driver: network, endpoint, sandbox, and nothing is left',
    { skip: dnet.skip },
    async () => {
      const address = '127.0.0.1:2385';
      const child = spawn(dnet.path, [address, at('dnet')], { stdio: ['ignore', 'ignore', 'inherit'] });
      type Answer = { readonly id: string; readonly key: string };
      const ask = async (method: string, path: string, body?: object): Promise<Answer> => {
        const response = await fetch(`http://${address}/v1.19${path}`, {
          method,
          ...(body !== undefined && {
            body: JSON.stringify(body),
            headers: { 'content-type': 'application/json' },
          }),
        });
        const text = await response.text();
        assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
        const value = text.trim() === '' ? '' : (JSON.parse(text) as Answer | string);
        return typeof value === 'string' ? { id: value, key: '' } : value;
      };
      try {
        for (const late = performance.now() + patience; ; await pause(50)) {
          if (
            await ask('GET', '/networks').then(
              () => true,
              () => false,
            )
          )
            break;
          assert.ok(child.exitCode === null && performance.now() < late, 'dnet does not answer');
        }
        const network = await ask('POST', '/networks', {
          name: 'net',
          network_type: 'portcullis',
          ipv4_configuration: [{ PreferredPool: '10.77.0.0/24' }],
          driver_opts: { 'com.docker.network.driver.mtu': '1450' },
        });
        const service = await ask('POST', '/services', { name: 'svc', network_name: 'net' });
        const sandbox = await ask('POST', '/sandboxes', { container_id: 'c0ffee' });
        await ask('POST', `/services/${service.id}/backend`, { sandbox_id: sandbox.id });
        const { key } = await ask('GET', `/sandboxes/${sandbox.id}`);
        const inside = execFileSync('nsenter', [`--net=${key}`, 'ip', 'address', 'show', 'eth0'], {
          encoding: 'utf8',
        });
        assert.match(inside, /mtu 1450 [^]*inet 10\.77\.0\.2\/24/u);
        execFileSync('nsenter', [`--net=${key}`, 'busybox', 'ping', '-c1', '-W2', '10.77.0.1']);
        await ask('DELETE', `/services/${service.id}/backend/${sandbox.id}`);
        await ask('DELETE', `/sandboxes/${sandbox.id}`);
        await ask('DELETE', `/services/${service.id}`, { name: 'svc', force: false });
        await ask('DELETE', `/networks/${network.id}`);
      } finally {
        child.kill('SIGKILL');
      }
    },
  );
});
