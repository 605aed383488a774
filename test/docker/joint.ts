/**
 * One network that a container of docker, a pod of our own runtime and a namespace of cnitool share: `npm run
 * test:docker` runs it beside suite.ts. One daemon serves all three. Needs `test/peers/get docker cnitool`.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { portcullisCommand, runProgram } from '../fixtures/command.ts';
import { findDocker, startDocker } from '../fixtures/dockerd.ts';
import type { Docker } from '../fixtures/dockerd.ts';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { leftovers } from './leftovers.ts';

const cnitool = findTool('cnitool');
const { skip } = [findDocker(), cnitool].find((tool) => tool.skip !== false) ?? { skip: false };
const folder = mkdtempSync(join(tmpdir(), 'pct-joint-'));
const at = (name: string): string => join(folder, name);
const patience = 60_000;

/**
 * As `portcullis network create` writes it. The first is written by hand, because pods use it before any
 * create.
 */
const shop = {
  cniVersion: '1.0.0',
  name: 'shop',
  plugins: [
    {
      type: 'portcullis-bridge',
      bridge: 'shop0',
      isDefaultGateway: true,
      ipMasq: true,
      ipam: {
        type: 'portcullis-ipam',
        ranges: [[{ subnet: '10.150.0.0/24' }], [{ subnet: 'fd00:150::/64' }]],
      },
      capabilities: { aliases: true, ips: true, mac: true },
    },
    { type: 'portcullis-portmap', capabilities: { portMappings: true } },
    { type: 'portcullis-firewall', ingressPolicy: 'same-bridge', backend: 'nftables' },
  ],
};

/** A member of a network: how others find it, and how it sends requests. */
interface Member {
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /**
   * Runs a busybox program in the member, with its resolv.conf. Returns its output, or undefined if it
   * failed.
   */
  run(...words: string[]): Promise<string | undefined>;
}

const serve = (name: string, www = '/www'): string =>
  `echo ${name} > ${www}/index.html; exec busybox httpd -f -p 80 -h ${www}`;

/**
 * Waits until the condition holds. State read from docker's events follows docker's answer a moment later.
 */
async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const late = performance.now() + patience; !(await holds()); await pause(100))
    if (performance.now() > late) assert.fail(`${what}: not within ${patience / 1000} s`);
}

const page = async (from: Member, host: string): Promise<string | undefined> =>
  (
    await from.run(
      'timeout',
      '5',
      'busybox',
      'wget',
      '-q',
      '-O',
      '-',
      `http://${host.includes(':') ? `[${host}]` : host}/`,
    )
  )?.trim();
const pings = async (from: Member, to: string): Promise<boolean> =>
  (await from.run('ping', '-c', '1', '-W', '1', to)) !== undefined;
const finds = async (from: Member, name: string): Promise<boolean> => (await page(from, name)) !== undefined;

describe('one network for docker, pods and CNI callers', { skip }, () => {
  let docker: Docker;
  let stage: Stage;
  let image = '';
  const servers: ReturnType<typeof spawn>[] = [];

  const portcullis = async (...words: string[]): Promise<string> => {
    const [program = '', ...first] = portcullisCommand;
    const { code, output, stdout } = await runProgram(program, [...first, ...words], process.env, folder);
    assert.equal(code, 0, `portcullis ${words.join(' ')}: ${output}`);
    return stdout.trim();
  };
  const places = (): string[] => ['--conf-dir', stage.folders.cniConf, '--root', stage.folders.root];

  const container = async (
    name: string,
    network: string,
    gateway: string,
    ...more: string[]
  ): Promise<Member> => {
    await docker.ok(
      ...['run', '-d', '--name', name, '--network', network, '--dns', gateway, ...more],
      ...['busybox', 'busybox', 'sh', '-c', serve(name)],
    );
    const shown = JSON.parse(
      await docker.ok('inspect', '-f', `{{json (index .NetworkSettings.Networks "${network}")}}`, name),
    ) as {
      readonly IPAddress: string;
      readonly GlobalIPv6Address: string;
    };
    return {
      name,
      ipv4: shown.IPAddress,
      ipv6: shown.GlobalIPv6Address,
      async run(...words) {
        const { code, stdout } = await docker.run('exec', name, 'busybox', ...words);
        return code === 0 ? stdout : undefined;
      },
    };
  };

  const pod = async (name: string): Promise<Member & { readonly pod: Pod }> => {
    const made = await runPod(stage, name, { annotations: { 'portcullis.dev/dns': 'shop' } });
    const id = await runContainer(stage, made, { image, command: ['busybox', 'sh', '-c', serve(name)] });
    const { status } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: made.id });
    return {
      name,
      pod: made,
      ipv4: status?.network?.ip ?? '',
      ipv6: status?.network?.additionalIps[0]?.ip ?? '',
      async run(...words) {
        const { exitCode, stdout } = await execute(stage, id, 'busybox', ...words);
        return exitCode === 0 ? stdout : undefined;
      },
    };
  };

  const tool = async (verb: 'add' | 'del', name: string, network: string): Promise<string> => {
    const environment = {
      PATH: process.env['PATH'] ?? '',
      NETCONFPATH: stage.folders.cniConf,
      CNI_PATH: at('bin'),
      CAP_ARGS: JSON.stringify({ aliases: [name] }),
    };
    const { code, output, stdout } = await runProgram(
      cnitool.path,
      [verb, network, at(`netns/${name}`)],
      environment,
      folder,
    );
    assert.equal(code, 0, output);
    return stdout;
  };

  const namespace = async (name: string, network: string, gateway: string): Promise<Member> => {
    const path = at(`netns/${name}`);
    const www = at(`www-${name}`);
    for (const each of [at('netns'), www]) mkdirSync(each, { recursive: true });
    writeFileSync(path, '');
    await runProgram('unshare', [`--net=${path}`, 'ip', 'link', 'set', 'lo', 'up'], process.env, folder);
    const { ips } = JSON.parse(await tool('add', name, network)) as {
      readonly ips: readonly { readonly address: string }[];
    };
    const [ipv4 = '', ipv6 = ''] = ips.map(({ address }) => address.replace(/\/\d+$/u, ''));
    writeFileSync(at(`resolv-${name}`), `nameserver ${gateway}\n`);
    // A private mount namespace, only for its resolv.conf.
    const inside = [
      `--net=${path}`,
      'unshare',
      '--mount',
      'sh',
      '-c',
      `mount --bind ${at(`resolv-${name}`)} /etc/resolv.conf; exec "$@"`,
      'sh',
    ];
    servers.push(spawn('nsenter', [`--net=${path}`, 'sh', '-c', serve(name, www)], { stdio: 'ignore' }));
    return {
      name,
      ipv4,
      ipv6,
      async run(...words) {
        const { code, stdout } = await runProgram(
          'nsenter',
          [...inside, 'busybox', ...words],
          process.env,
          folder,
        );
        return code === 0 ? stdout : undefined;
      },
    };
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
    await portcullis(
      'cni',
      'install',
      '--bin-dir',
      at('bin'),
      '--socket',
      join(stage.folders.state, 'cni.sock'),
      '--root',
      stage.folders.root,
    );
    await portcullis(
      'network',
      'create',
      'mail',
      '--subnet',
      '10.151.0.0/24',
      '--ipv6',
      'fd00:151::/64',
      ...places(),
    );
    for (const name of ['shop', 'mail']) await docker.createNetwork(name);
  });
  after(async () => {
    for (const server of servers) server.kill('SIGKILL');
    await docker?.end();
    await stage?.close();
    await runProgram('sh', ['-c', `umount ${at('netns')}/*`], process.env);
    rmSync(folder, { recursive: true, force: true });
  });

  it('they reach each other by address and by name, and nothing on another network', async () => {
    const members = [
      await container('web', 'shop', '10.150.0.1', '--network-alias', 'front'),
      await pod('api'),
      await namespace('tool', 'shop', '10.150.0.1'),
    ] as const;
    const [web, api, caller] = members;
    const others = [
      await container('far', 'mail', '10.151.0.1'),
      await namespace('away', 'mail', '10.151.0.1'),
    ];
    for (const member of [...members, ...others]) {
      assert.match(member.ipv4, /^10\.15[01]\.0\.\d+$/u, member.name);
      assert.match(member.ipv6, /^fd00:15[01]::/u, member.name);
    }
    for (const group of [members, others])
      for (const from of group)
        for (const to of group)
          if (from !== to)
            for (const by of [to.ipv4, to.ipv6, to.name])
              await eventually(
                `${from.name} reaches ${to.name} by ${by}`,
                async () => (await page(from, by)) === to.name,
              );
    for (const from of [api, caller]) {
      await eventually(
        `${from.name} finds web by its alias`,
        async () => (await page(from, 'front')) === 'web',
      );
      assert.equal(await page(from, 'web.shop.portcullis.internal'), 'web');
      const answered = await from.run('nslookup', '-type=aaaa', 'web', '10.150.0.1');
      assert.ok(answered?.includes(web.ipv6) ?? false, answered ?? 'nothing');
      const reverse = await from.run('nslookup', web.ipv4, '10.150.0.1');
      assert.match(reverse ?? '', /web\.shop\.portcullis\.internal/u);
    }
    await Promise.all(
      [...members].flatMap((one) =>
        others.flatMap((other) =>
          [
            [one, other],
            [other, one],
          ].flatMap(([from, to]) =>
            from === undefined || to === undefined
              ? []
              : [to.ipv4, to.ipv6].map(async (address) =>
                  assert.ok(!(await pings(from, address)), `${from.name} → ${address}`),
                ),
          ),
        ),
      ),
    );
    for (const from of members)
      assert.ok(!(await finds(from, 'far')), `${from.name} finds no member of another network`);
    for (const from of others)
      assert.ok(!(await finds(from, 'web')), `${from.name} finds no member of another network`);
    await tool('del', 'away', 'mail');
  });

  it('names follow docker: connect, rename, restarts of dockerd and of our daemon, disconnect', async () => {
    const [api, caller] = [await pod('asks'), await namespace('tool2', 'shop', '10.150.0.1')];
    const everywhere = async (name: string, said: string | undefined): Promise<void> => {
      for (const from of [api, caller])
        await eventually(
          `${from.name} asks for ${name}: ${said ?? 'nobody'}`,
          async () => (await page(from, name)) === said,
        );
    };
    await docker.ok('network', 'connect', '--alias', 'both', 'shop', 'far');
    await everywhere('both', 'far');
    await docker.ok('rename', 'far', 'near');
    await everywhere('near', 'far');
    await everywhere('far', undefined);
    await docker.down('kill');
    await everywhere('near', 'far');
    await docker.up();
    await stage.restart({ kill: true });
    await everywhere('both', 'far');
    // Renamed while no process listens to the events.
    await stage.restart({ meanwhile: () => docker.ok('rename', 'near', 'far').then(() => undefined) });
    await everywhere('far', 'far');
    await everywhere('near', undefined);
    await docker.ok('network', 'disconnect', 'shop', 'far');
    await everywhere('far', undefined);
    await everywhere('both', undefined);
    await removePod(stage, api.pod);
    await tool('del', 'tool2', 'shop');
  });

  it('a container of docker is connected by its name to a network that docker does not know, and disconnected', async () => {
    await portcullis('network', 'create', 'side', '--subnet', '10.152.0.0/24', ...places());
    const own = [...places(), '--cache-dir', at('cni-cache'), '--docker-socket', docker.socket];
    const member = await namespace('beside', 'side', '10.152.0.1');
    await portcullis('network', 'connect', 'side', 'docker://web', ...own);
    await eventually('by its name', async () => (await page(member, 'web')) === 'web');
    await portcullis('network', 'disconnect', 'side', 'docker://web', ...own);
    assert.ok(!(await finds(member, 'web')));
    const [program = '', ...first] = portcullisCommand;
    const missing = await runProgram(
      program,
      [...first, 'network', 'connect', 'side', 'docker://nobody', ...own],
      process.env,
      folder,
    );
    assert.deepEqual(
      [missing.code, /NETWORK_TARGET_UNKNOWN/u.test(missing.output)],
      [1, true],
      missing.output,
    );
    await tool('del', 'beside', 'side');
    // Like upstream's, the bridge plugin does not remove the bridge. Bridges of docker's networks are removed
    // with them.
    const { plugins } = JSON.parse(readFileSync(join(stage.folders.cniConf, '50-side.conflist'), 'utf8')) as {
      plugins: { bridge: string }[];
    };
    assert.equal(
      (await runProgram('ip', ['link', 'delete', plugins[0]?.bridge ?? ''], process.env, folder)).code,
      0,
    );
  });

  it('nothing is left after all are removed', async () => {
    const { runtime } = stage.daemon.cri;
    for (const { id } of (await runtime.listPodSandbox({})).items)
      await runtime.removePodSandbox({ podSandboxId: id });
    await tool('del', 'tool', 'shop');
    await docker.ok('rm', '-f', 'web', 'far');
    await docker.ok('network', 'rm', 'shop', 'mail');
    const all = (): string[] =>
      leftovers({ root: stage.folders.root, state: stage.folders.state, leases: [] });
    // The subnets of the pods' own network exist while its daemon runs.
    const left = (): string[] => all().filter((each) => !/^rule elements = \{ [\da-f.:]+\/\d/u.test(each));
    await eventually('nothing is left', () => Promise.resolve(left().length === 0)).catch(() =>
      assert.deepEqual(left(), []),
    );
  });
});
