import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { commandFile } from '../fixtures/command.ts';
import { createContainer, execute, podConfig, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * Third-party CNI plugins (Go) under our runtime: a chain without our plugins, with the newest CNI version
 * that they support.
 */
interface Supplier {
  readonly whose: string;
  readonly programs: string;
  readonly version: string;
  readonly without: string;
}
const debian = '/usr/lib/cni';
const upstream = join(process.env['PEERS'] ?? '/var/cache/portcullis-peers', 'bin/cni');
const suppliers: readonly Supplier[] = [
  {
    whose: 'Debian',
    programs: debian,
    version: '1.0.0',
    without: 'containernetworking-plugins is not installed',
  },
  // They answer STATUS. They accept GC without effect (v1.9.1).
  {
    whose: 'upstream',
    programs: upstream,
    version: '1.1.0',
    without: 'no such plugins; build with: test/peers/get cniplugins',
  },
];
const server = ['httpd', '-f', '-p', '8080', '-h', '/www'];

async function answers(host: string, port: number, patience = 5000): Promise<string> {
  for (const deadline = Date.now() + patience; Date.now() < deadline;) {
    const text = await new Promise<string>((resolve) => {
      const socket = connect({ host, port });
      let heard = '';
      socket.setTimeout(Math.min(700, patience), () => socket.destroy());
      socket.on('connect', () => socket.end('GET / HTTP/1.0\r\n\r\n'));
      socket.on('data', (chunk) => (heard += chunk.toString()));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(heard.trim().split('\n').at(-1) ?? ''));
    });
    if (text === 'a page') return text;
    await pause(50);
  }
  return '';
}

const profiles = `---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: alone }
entitlements: [network.none]
---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: narrow }
network: { ingress: [{ from: 198.51.100.0/24, ports: [8080/tcp] }] }
`;

for (const supplier of suppliers) {
  const missing = !existsSync(join(supplier.programs, 'bandwidth')) && supplier.without;
  describe(`CNI plugins of ${supplier.whose}`, { skip: missing }, () => judge(supplier));
}

function judge(supplier: Supplier): void {
  const network = openNetwork(supplier);
  testLifeOfPods(network);
  testFailures(network);
  testClasses(network);
}

const links = (): string[] =>
  (JSON.parse(execFileSync('ip', ['-json', 'link'], { encoding: 'utf8' })) as { ifname: string }[]).map(
    ({ ifname }) => ifname,
  );
const rules = (): string => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
const settles = async (what: () => unknown, expected: unknown): Promise<void> => {
  for (let waited = 0; waited < 60_000 && JSON.stringify(what()) !== JSON.stringify(expected); waited += 50)
    await pause(50);
  assert.deepEqual(what(), expected);
};

/** A daemon whose network has the plugins of a supplier. */
function openNetwork({ programs, version }: Supplier) {
  const folder = mkdtempSync(join(tmpdir(), 'pct-others-'));
  const bin = join(folder, 'bin');
  const stores = join(folder, 'leases');
  let stage: Stage;
  let image = '';
  const conflist = (more: object[] = []): string =>
    JSON.stringify({
      cniVersion: version,
      name: 'debian',
      plugins: [
        {
          type: 'bridge',
          bridge: 'deb0',
          isGateway: true,
          ipMasq: true,
          hairpinMode: true,
          ipam: {
            type: 'host-local',
            dataDir: stores,
            ranges: [[{ subnet: '10.212.0.0/28' }], [{ subnet: 'fd00:212::/64' }]],
            routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
          },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
        { type: 'bandwidth', capabilities: { bandwidth: true } },
        { type: 'tuning', sysctl: { 'net.core.somaxconn': '511' } },
        ...more,
      ],
    });
  /** Writes a bash plugin that precedes the others in the search path. */
  const script = (name: string, body: string): void => {
    writeFileSync(join(bin, name), `#!/bin/bash\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  const leased = (): string[] =>
    existsSync(join(stores, 'debian'))
      ? readdirSync(join(stores, 'debian')).filter((name) => /\d/.test(name) && !name.startsWith('last'))
      : [];
  const cached = (): string[] => readdirSync(join(folder, 'cni/results'), { encoding: 'utf8' });
  const addressOf = async (id: string): Promise<string> =>
    (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: id })).status?.network?.ip ?? '';
  before(async () => {
    mkdirSync(bin);
    mkdirSync(join(folder, 'cni/results'), { recursive: true });
    const config = join(folder, 'config.yaml');
    writeFileSync(
      config,
      `network: { plugins: exec, pluginTimeout: 2, cacheDir: ${join(folder, 'cni')} }\ncni: { binDirs: [${[...new Set([bin, programs, debian])].join(', ')}] }\n`,
    );
    stage = await openStage({
      conflist: conflist(),
      flags: ['--config', config],
      policy: plainPolicy + profiles,
    });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    for (const link of ['deb0']) if (links().includes(link)) execFileSync('ip', ['link', 'delete', link]);
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });

  return {
    get stage() {
      return stage;
    },
    get image() {
      return image;
    },
    ...{ version, folder, stores, conflist, script, leased, cached, addressOf },
  };
}

type Network = ReturnType<typeof openNetwork>;

function testLifeOfPods(network: Network): void {
  const { version, folder, conflist, script, leased, cached } = network;

  it('attach a pod by bridge, host-local, portmap, bandwidth and tuning; its class restricts the link, and teardown removes everything', async () => {
    const { status } = await network.stage.daemon.cri.runtime.status({});
    assert.deepEqual(
      status?.conditions.find(({ type }) => type === 'NetworkReady')?.status,
      true,
      JSON.stringify(status),
    );
    const pod = await runPod(network.stage, 'web', {
      portMappings: [{ protocol: 0, containerPort: 8080, hostPort: 18090, hostIp: '' }],
      annotations: { 'kubernetes.io/ingress-bandwidth': '50M', 'kubernetes.io/egress-bandwidth': '40M' },
    });
    const { status: reported } = await network.stage.daemon.cri.runtime.podSandboxStatus({
      podSandboxId: pod.id,
    });
    assert.match(reported?.network?.ip ?? '', /^10\.212\.0\.\d+$/u);
    assert.match(reported?.network?.additionalIps[0]?.ip ?? '', /^fd00:212::/u);
    const id = await createContainer(network.stage, pod, { image: network.image, command: server });
    assert.match(rules(), /table bridge portcullis/u);
    await network.stage.daemon.cri.runtime.startContainer({ containerId: id });
    assert.equal(await answers(reported?.network?.ip ?? '', 8080), 'a page');
    assert.equal(
      await answers(
        execFileSync('hostname', ['-I'], { encoding: 'utf8' }).split(' ')[0] || '10.212.0.1',
        18090,
      ),
      'a page',
    );
    assert.match((await execute(network.stage, id, 'ip', 'link', 'show', 'lo')).stdout, /UP/u);
    assert.equal(
      (await execute(network.stage, id, 'cat', '/proc/sys/net/core/somaxconn')).stdout.trim(),
      '511',
    );
    assert.match(execFileSync('tc', ['qdisc'], { encoding: 'utf8' }), /tbf .*rate 50Mbit/u);
    assert.equal(leased().length, 2);
    assert.equal(cached().length, 1);
    const { root, state, cniConf } = network.stage.folders;
    const command = (...words: string[]): string =>
      execFileSync(
        process.execPath,
        [
          commandFile,
          'network',
          ...words,
          '--root',
          root,
          '--conf-dir',
          cniConf,
          '--plugins',
          'exec',
          '--admin-socket',
          join(state, 'admin.sock'),
        ],
        { encoding: 'utf8' },
      );
    assert.match(
      command('inspect', 'debian'),
      /eth0 +shop\/web +10\.212\.0\.\d+\/28, fd00:212::.* +ready +user/u,
    );
    assert.equal(command('gc'), '0 removed, 1 kept\n');
    assert.throws(() => command('rm', 'debian'), /NETWORK_IN_USE/u);
    await removePod(network.stage, pod);
    assert.deepEqual(leased(), []);
    assert.deepEqual(cached(), []);
    await settles(() => links().filter((name) => name !== 'lo' && name !== 'deb0'), []);
    assert.doesNotMatch(rules(), /18090/u);
  });

  it('receive DEL with the configuration with which the pod was created, whatever the folder contains by then', async () => {
    const pod = await runPod(network.stage, 'changed');
    network.stage.writeConflist(conflist().replace('deb0', 'deb1').replaceAll('212', '213'));
    await removePod(network.stage, pod);
    assert.deepEqual(leased(), []);
    network.stage.writeConflist(conflist());
  });

  it('leave nothing when the daemon is killed in the middle of ADD, and in the middle of DEL', async () => {
    for (const when of ['ADD', 'DEL']) {
      const reached = join(folder, `reached-${when}`);
      script(
        'slow',
        `cat >/dev/null; if [ "$CNI_COMMAND" = VERSION ]; then echo '{"supportedVersions":["${version}"]}'; exit; fi
if [ "$CNI_COMMAND" = ${when} ] && [ ! -e ${reached} ]; then touch ${reached}; sleep 1; exit 1; fi
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"${version}","ips":[{"address":"10.212.0.2/28"}]}'; exit 0`,
      );
      network.stage.writeConflist(conflist([{ type: 'slow' }]));
      const config = podConfig(network.stage, `killed-${when}`);
      const acting = (async () => {
        const { podSandboxId } = await network.stage.daemon.cri.runtime.runPodSandbox({ config });
        await network.stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId });
      })().catch(() => undefined);
      for (let waited = 0; !existsSync(reached) && waited < 60_000; waited += 20) await pause(20);
      assert.ok(existsSync(reached), when);
      await network.stage.restart({ kill: true });
      await acting;
      for (const { id } of (await network.stage.daemon.cri.runtime.listPodSandbox({})).items)
        await network.stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
      await settles(leased, []);
      await settles(() => links().filter((name) => name !== 'lo' && name !== 'deb0'), []);
      assert.deepEqual(cached(), []);
    }
    network.stage.writeConflist(conflist());
  });
}

function testFailures(network: Network): void {
  const { version, conflist, script, leased } = network;

  const bad: readonly [what: string, body: string, code: string, why: RegExp][] = [
    ['hangs', 'sleep 600', 'NETWORK_PLUGIN_TIMEOUT', /did not end within 2 s/u],
    ['prints garbage', 'echo "all well"', 'NETWORK_PLUGIN_FAILED', /not JSON/u],
    [
      'fails with JSON',
      `echo '{"code":11,"msg":"try later"}'; exit 1`,
      'NETWORK_PLUGIN_FAILED',
      /try later/u,
    ],
    ['floods', 'yes', 'NETWORK_PLUGIN_TIMEOUT', /more than 1048576 bytes/u],
  ];
  for (const [what, body, code, why] of bad) {
    it(`a plugin that ${what} is reported, and earlier plugins of the chain are undone`, async () => {
      script(
        'bad',
        `cat >/dev/null; if [ "$CNI_COMMAND" = VERSION ]; then echo '{"supportedVersions":["${version}"]}'; exit; fi; [ "$CNI_COMMAND" = ADD ] || exit 0; ${body}`,
      );
      network.stage.writeConflist(conflist([{ type: 'bad' }]));
      const failure = await failureOf(runPod(network.stage, 'unlucky'));
      assert.equal(failure.code, code);
      assert.match(failure.message, why);
      assert.deepEqual(leased(), []);
      assert.deepEqual((await network.stage.daemon.cri.runtime.listPodSandbox({})).items, []);
      network.stage.writeConflist(conflist());
    });
  }

  it('a missing plugin makes the network unready, and is reported', async () => {
    network.stage.writeConflist(conflist([{ type: 'nowhere' }]));
    const { status } = await network.stage.daemon.cri.runtime.status({});
    const condition = status?.conditions.find(({ type }) => type === 'NetworkReady');
    assert.deepEqual([condition?.status, condition?.reason], [false, 'NetworkPluginMissing']);
    assert.equal((await failureOf(runPod(network.stage, 'unlucky'))).code, 'NETWORK_PLUGIN_MISSING');
    assert.deepEqual(leased(), []);
    network.stage.writeConflist(conflist());
  });
}

function testClasses(network: Network): void {
  const { stores, leased, addressOf } = network;

  it('network.none is enforced on their bridge and on a routed link, and is refused if the link has no end on the host', async () => {
    const closed = await runPod(network.stage, 'closed', {
      annotations: { 'portcullis.dev/profile': 'alone' },
    });
    const narrow = await runPod(network.stage, 'narrow', {
      annotations: { 'portcullis.dev/profile': 'narrow' },
    });
    const open = await runPod(network.stage, 'open');
    for (const pod of [closed, narrow, open])
      await runContainer(network.stage, pod, { image: network.image, command: server });
    assert.equal(await answers(await addressOf(open.id), 8080), 'a page');
    for (const pod of [closed, narrow]) assert.equal(await answers(await addressOf(pod.id), 8080, 800), '');
    await network.stage.restart({ kill: true });
    assert.equal(await answers(await addressOf(open.id), 8080), 'a page');
    for (const pod of [closed, narrow]) assert.equal(await answers(await addressOf(pod.id), 8080, 800), '');
    for (const pod of [closed, narrow, open]) await removePod(network.stage, pod);
    const ipam = {
      type: 'host-local',
      dataDir: stores,
      ranges: [[{ subnet: '10.214.0.0/28' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    };
    const alone = (plugin: object): void =>
      network.stage.writeConflist(
        JSON.stringify({ cniVersion: '1.0.0', name: 'debian', plugins: [{ ...plugin, ipam }] }),
      );
    alone({ type: 'ptp' });
    const routed = await runPod(network.stage, 'routed', {
      annotations: { 'portcullis.dev/profile.main': 'alone' },
    });
    await runContainer(network.stage, routed, { image: network.image, command: ['sleep', '600'] });
    const hears = async (): Promise<boolean> =>
      spawnSync('busybox', ['ping', '-c', '1', '-W', '1', await addressOf(routed.id)]).status === 0;
    assert.equal(await hears(), false);
    await runContainer(network.stage, routed, { name: 'open', image: network.image, command: server });
    assert.equal(await hears(), true);
    assert.equal(await answers(await addressOf(routed.id), 8080), 'a page');
    await removePod(network.stage, routed);
    assert.deepEqual(leased(), []);
    execFileSync('sh', [
      '-c',
      'ip link add parent0 type veth peer name parent1; ip link set parent0 up; ip link set parent1 up',
    ]);
    alone({ type: 'macvlan', master: 'parent0' });
    const endless = await runPod(network.stage, 'endless', {
      annotations: { 'portcullis.dev/profile.main': 'alone' },
    });
    const id = await createContainer(network.stage, endless, { image: network.image, command: server });
    const failure = await failureOf(network.stage.daemon.cri.runtime.startContainer({ containerId: id }));
    assert.equal(failure.code, 'NETWORK_RULES_UNSUPPORTED');
    assert.match(
      failure.message,
      /network debian created no interface on the host.*use a network of the plugin bridge or ptp/u,
    );
    await removePod(network.stage, endless);
    execFileSync('ip', ['link', 'del', 'parent0']);
    assert.deepEqual(leased(), []);
    assert.equal(readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim(), '1');
  });
}
