/**
 * Services of a network that containers of docker join by their label, beside our pods on the same network.
 * One daemon serves both. `npm run test:docker` runs this file beside suite.ts. Needs `test/peers/get
 * docker`.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { ServiceList } from '../../cni-plugins/index.ts';
import { portcullis } from '../fixtures/command.ts';
import { findDocker, startDocker } from '../fixtures/dockerd.ts';
import type { Docker } from '../fixtures/dockerd.ts';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { leftovers } from './leftovers.ts';

const { skip } = findDocker();
const folder = mkdtempSync(join(tmpdir(), 'pct-docker-services-'));
const at = (name: string): string => join(folder, name);
const patience = 60_000;
const gateway = '10.150.0.1';

/** As `portcullis network create` writes it. */
const shop = {
  cniVersion: '1.0.0',
  name: 'shop',
  plugins: [
    {
      type: 'portcullis-bridge',
      bridge: 'shop0',
      isDefaultGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: 'portcullis-ipam',
        ranges: [[{ subnet: '10.150.0.0/24' }], [{ subnet: 'fd00:150::/64' }]],
      },
      capabilities: { aliases: true, ips: true, mac: true, services: true },
      ingress: { namespaces: ['*'], ports: ['30000-32767'] },
      // Containers of docker and pods are members of one service.
      sharedServices: ['web', 'cache'],
    },
    { type: 'portcullis-portmap', capabilities: { portMappings: true } },
    { type: 'portcullis-firewall', ingressPolicy: 'same-bridge', backend: 'nftables' },
  ],
};

const web = { name: 'web', ports: ['80:8080'], ingressPorts: ['30080:8080'], aliases: ['front'] };
const cache = { name: 'cache', mode: 'dnsrr', ports: ['8080'] };
const labelled = (...services: object[]): string[] => [
  '--label',
  `portcullis.dev/services=${JSON.stringify(services)}`,
];
const serve = (name: string): string =>
  `echo ${name} > /www/index.html; exec busybox httpd -f -p '[::]:8080' -h /www`;

/** A client. Runs a busybox program in its namespaces; returns its output, or undefined if it failed. */
type Asker = (...words: string[]) => Promise<string | undefined>;

const page = async (from: Asker, host: string, port = 80): Promise<string | undefined> =>
  (
    await from(
      'timeout',
      '5',
      'busybox',
      'wget',
      '-q',
      '-O',
      '-',
      `http://${host.includes(':') ? `[${host}]` : host}:${port}/`,
    )
  )?.trim();

/** The addresses of a name, sorted, as the gateway of the network resolves it. */
async function resolved(from: Asker, name: string, type: 'a' | 'aaaa' = 'a'): Promise<string[]> {
  const said = (await from('nslookup', `-type=${type}`, name, gateway)) ?? '';
  return [...said.matchAll(/^Address(?: \d+)?: ([\da-f.:]+)$/gmu)]
    .map(([, address = '']) => address)
    .toSorted();
}

async function eventually(
  what: string,
  holds: () => Promise<boolean>,
  say: () => Promise<unknown> = () => Promise.resolve(''),
): Promise<void> {
  for (const late = performance.now() + patience; !(await holds()); await pause(100))
    if (performance.now() > late)
      assert.fail(`${what}: not within ${patience / 1000} s: ${JSON.stringify(await say())}`);
}

describe('services that containers of docker join', { skip }, () => {
  let docker: Docker;
  let stage: Stage;
  let image = '';
  const host: Asker = async (...words) => {
    const { code, stdout } = await docker.beside('busybox', ...words);
    return code === 0 ? stdout : undefined;
  };
  const inside =
    (name: string): Asker =>
    async (...words) => {
      const { code, stdout } = await docker.run('exec', name, 'busybox', ...words);
      return code === 0 ? stdout : undefined;
    };
  const container = async (name: string, ...more: string[]): Promise<Asker> => {
    await docker.ok(
      'run',
      '-d',
      '--name',
      name,
      '--network',
      'shop',
      '--dns',
      gateway,
      ...more,
      'busybox',
      'busybox',
      'sh',
      '-c',
      serve(name),
    );
    return inside(name);
  };
  const addressOf = (name: string, field = 'IPAddress'): Promise<string> =>
    docker.ok('inspect', '-f', `{{(index .NetworkSettings.Networks "shop").${field}}}`, name);
  const pod = async (
    name: string,
    ...services: object[]
  ): Promise<{ readonly pod: Pod; readonly ask: Asker; readonly address: string }> => {
    const annotations = {
      'portcullis.dev/dns': 'shop',
      ...(services.length > 0 && { 'portcullis.dev/services': JSON.stringify(services) }),
    };
    const made = await runPod(stage, name, { annotations });
    const id = await runContainer(stage, made, { image, command: ['busybox', 'sh', '-c', serve(name)] });
    const { status } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: made.id });
    return {
      pod: made,
      address: status?.network?.ip ?? '',
      async ask(...words) {
        const { exitCode, stdout } = await execute(stage, id, 'busybox', ...words);
        return exitCode === 0 ? stdout : undefined;
      },
    };
  };
  const list = async (): Promise<ServiceList> => {
    const { code, stdout, output } = await portcullis([
      'service',
      'ls',
      '-o',
      'json',
      '--admin-socket',
      join(stage.folders.state, 'admin.sock'),
    ]);
    assert.equal(code, 0, output);
    return JSON.parse(stdout) as ServiceList;
  };
  const backends = async (service: string): Promise<string[]> =>
    [
      ...new Set(
        ((await list()).services.find(({ name }) => name === service)?.backends ?? []).map(
          ({ address }) => address,
        ),
      ),
    ].toSorted();
  const ipv4 = (addresses: readonly string[]): string[] =>
    addresses.filter((address) => address.includes('.'));
  /**
   * The current members of the service, by the backends of the load balancer and by the name of all members.
   */
  const membersAre = async (
    service: string,
    names: readonly string[],
    others: readonly string[] = [],
  ): Promise<void> => {
    const expected = [...(await Promise.all(names.map((name) => addressOf(name)))), ...others].toSorted();
    const is = async (): Promise<boolean> =>
      ipv4(await backends(`shop/${service}`)).join() === expected.join();
    await eventually(`members of ${service} are ${expected.join()}`, is, () => backends(`shop/${service}`));
    await eventually(
      `tasks.${service}.shop are ${expected.join()}`,
      async () => (await resolved(host, `tasks.${service}.shop`)).join() === expected.join(),
      () => resolved(host, `tasks.${service}.shop`),
    );
  };
  const meets = async (
    who: string,
    from: Asker,
    name: string,
    port: number,
    expected: readonly string[],
  ): Promise<void> => {
    const met = new Set<string | undefined>();
    await eventually(
      `${who} meets ${expected.join(', ')} at ${name}:${port}`,
      async () => {
        met.add(await page(from, name, port));
        return expected.every((each) => met.has(each));
      },
      () => Promise.resolve([...met]),
    );
  };
  /** Asserts that only these members answer eight requests, more than there are members. */
  const meetsOnly = async (
    from: Asker,
    name: string,
    port: number,
    expected: readonly string[],
  ): Promise<void> => {
    for (let time = 0; time < 8; time += 1)
      assert.ok(expected.includes((await page(from, name, port)) ?? 'nobody'), `at ${name}:${port}`);
  };

  before(async () => {
    docker = await startDocker({ folder: at('docker'), liveRestore: true });
    await docker.importBusybox();
    const network = {
      dockerDriver: '/run/docker/plugins/portcullis.sock',
      dockerSocket: docker.socket,
      cacheDir: at('cni-cache'),
    };
    writeFileSync(at('config.yaml'), JSON.stringify({ network }));
    mkdirSync('/run/docker/plugins', { recursive: true });
    stage = await openStage({ conflist: JSON.stringify(shop), flags: ['--config', at('config.yaml')] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    await docker.createNetwork('shop');
  });
  after(async () => {
    await docker?.end();
    await stage?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('a virtual address balances over containers and a pod: for a container, a pod and the host, by name, alias and ingress port', async () => {
    const first = await container('one', ...labelled(web));
    await container('two', ...labelled(web));
    const third = await pod('three', web);
    const asker = await pod('asks');
    const everyone = ['one', 'two', 'three'];
    await membersAre('web', ['one', 'two'], [third.address]);
    const [vip = ''] = await resolved(asker.ask, 'web');
    const [vip6 = ''] = await resolved(asker.ask, 'web', 'aaaa');
    assert.match(vip, /^10\.150\.0\.\d+$/u);
    assert.match(vip6, /^fd00:150::/u);
    assert.deepEqual(await resolved(asker.ask, 'front'), [vip]);
    for (const [who, from] of [
      ['a container', first],
      ['a pod', asker.ask],
    ] as const)
      for (const name of ['web', 'front', vip, vip6]) await meets(who, from, name, 80, everyone);
    await meets('the host', host, vip, 80, everyone);
    for (const address of ['127.0.0.1', gateway]) await meets('the host', host, address, 30_080, everyone);
    await meets('a member, itself among all', third.ask, 'web', 80, everyone);
    await removePod(stage, third.pod);
    await membersAre('web', ['one', 'two']);
    await removePod(stage, asker.pod);
  });

  it('with `dnsrr` the name resolves to all members, without a virtual address', async () => {
    for (const name of ['first', 'second']) await container(name, ...labelled(cache));
    const expected = [await addressOf('first'), await addressOf('second')].toSorted();
    for (const name of ['cache', 'tasks.cache.shop'])
      await eventually(
        `${name} are both`,
        async () => (await resolved(host, name)).join() === expected.join(),
        () => resolved(host, name),
      );
    assert.deepEqual(
      (await list()).services.filter(({ name }) => name.startsWith('shop/cache')),
      [],
    );
    await docker.ok('rm', '-f', 'first', 'second');
    await eventually(
      'the name disappears with the last member',
      async () => (await resolved(host, 'cache')).length === 0,
    );
  });

  it('members join and leave with their containers: stop, start, kill, restart, disconnect, connect', async () => {
    const [vip = ''] = await resolved(host, 'web');
    await docker.ok('stop', '-t', '0', 'two');
    await membersAre('web', ['one']);
    await meetsOnly(host, vip, 80, ['one']);
    await docker.ok('start', 'two');
    await membersAre('web', ['one', 'two']);
    await docker.ok('kill', 'one');
    await membersAre('web', ['two']);
    await meetsOnly(host, vip, 80, ['two']);
    await docker.ok('start', 'one');
    await docker.ok('restart', '-t', '0', 'two');
    await membersAre('web', ['one', 'two']);
    await docker.ok('network', 'disconnect', 'shop', 'two');
    await membersAre('web', ['one']);
    await docker.ok('network', 'connect', 'shop', 'two');
    await membersAre('web', ['one', 'two']);
    assert.deepEqual(await resolved(host, 'web'), [vip], 'the address is the same all the time');
    await meets('the host', host, '127.0.0.1', 30_080, ['one', 'two']);
  });

  it('dockerd is killed: the service continues; members that left or joined meanwhile are found', async () => {
    const [vip = ''] = await resolved(host, 'web');
    const pid = await docker.ok('inspect', '-f', '{{.State.Pid}}', 'two');
    await docker.down('kill');
    await meets('the host', host, vip, 80, ['one', 'two']);
    await docker.beside('kill', '-9', pid);
    await docker.up();
    await membersAre('web', ['one']);
    await docker.ok('start', 'two');
    await membersAre('web', ['one', 'two']);
    await docker.down('stop');
    await docker.up();
    await membersAre('web', ['one', 'two']);
    assert.deepEqual(await resolved(host, 'web'), [vip]);
  });

  it('our daemon is killed: the service continues; members that left meanwhile or join afterwards are found', async () => {
    const [vip = ''] = await resolved(host, 'web');
    await container('three', ...labelled(web));
    await membersAre('web', ['one', 'three', 'two']);
    await stage.restart({
      kill: true,
      meanwhile: async () => {
        await meets('the host', host, vip, 80, ['one', 'two', 'three']);
        await docker.run('rm', '-f', 'three');
      },
    });
    await membersAre('web', ['one', 'two']);
    await meetsOnly(host, vip, 80, ['one', 'two']);
    await container('four', ...labelled(web));
    await membersAre('web', ['four', 'one', 'two']);
    await docker.ok('rm', '-f', 'four');
    await docker.run('rm', '-f', 'three');
    await membersAre('web', ['one', 'two']);
  });

  it('a container with an invalid label, or with another mode, joins no service, and the label is reported', async () => {
    await container('bad', '--label', 'portcullis.dev/services=[{"name":"web","ports":["80:x"]}]');
    await eventually(
      'it is reported',
      async () => Promise.resolve(/NETWORK_SERVICE_MEMBERSHIP_INVALID/u.test(stage.daemon.log())),
      () => Promise.resolve(stage.daemon.log().slice(-2000)),
    );
    await container('other', ...labelled({ ...web, mode: 'dnsrr', ingressPorts: [] }));
    await eventually(
      'it is reported',
      async () => Promise.resolve(/NETWORK_SERVICE_MODE_DIFFERS/u.test(stage.daemon.log())),
      () => Promise.resolve(stage.daemon.log().slice(-2000)),
    );
    await membersAre('web', ['one', 'two']);
    await docker.ok('rm', '-f', 'bad', 'other');
  });

  it('nothing is left after all are removed', async () => {
    await docker.ok('rm', '-f', 'one', 'two');
    await eventually('the name is unknown', async () => (await resolved(host, 'web')).length === 0);
    await docker.ok('network', 'rm', 'shop');
    assert.deepEqual((await list()).services, []);
    const left = (): string[] =>
      leftovers({ root: stage.folders.root, state: stage.folders.state, leases: [] })
        // The subnets of the pods' own network and the constant rules of services exist while the daemon
        // runs. The kernel forgets backends of former connections by itself (unknown-segments).
        .filter(
          (each) =>
            !each.includes('timeout 7d') &&
            !/^rule elements = \{ (?:[\da-f.:]+\/\d|0x00000000 : goto refuse|tcp, udp, sctp)/u.test(each),
        );
    await eventually(
      'nothing is left',
      () => Promise.resolve(left().length === 0),
      () => Promise.resolve(left()),
    );
  });
});
