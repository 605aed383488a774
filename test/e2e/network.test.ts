import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, beforeEach, describe, it } from 'node:test';
import { DatabaseSync } from 'node:sqlite';
import { lostLinkFindings } from '../../cli/doctor/node/lost-links.ts';
import { portcullis } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { createContainer, execute, podConfig, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { conflist, failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const server = ['httpd', '-f', '-p', '8080', '-h', '/www'];

/** Returns the result of a TCP client: the first line of the page, or the error. */
function ask(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let text = '';
    const timer = setTimeout(() => socket.destroy(new Error('silence')), 700);
    socket.on('connect', () => socket.end('GET / HTTP/1.0\r\n\r\n'));
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('error', (error) => resolve((error as NodeJS.ErrnoException).code ?? error.message));
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text.trim().split('\n').at(-1) ?? '');
    });
  });
}

async function answers(host: string, port: number): Promise<string> {
  let found = '';
  for (let waited = 0; waited < 60_000 && found !== 'a page'; waited += 50) {
    found = await ask(host, port);
    if (found !== 'a page') await pause(50);
  }
  return found;
}

const said = (words: string): string => {
  const [program = '', ...given] = words.split(' ');
  return execFileSync(program, given, { encoding: 'utf8' });
};

describe('the network of pods', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    // Thirteen addresses, so that an address that is not released is soon noticed.
    stage = await openStage({ conflist: conflist.replace('10.211.0.0/24', '10.211.0.0/28') });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  // The link of a pod ends with its namespace, which the kernel removes after the answer. Comparisons of
  // links begin without it.
  beforeEach(async () => {
    const hasPodLink = (): boolean =>
      / pc[0-9a-f]+@/u.test(` ${said('ip -brief link').replaceAll('\n', ' ')}`);
    for (const deadline = Date.now() + 60_000; hasPodLink(); await pause(20))
      assert.ok(Date.now() < deadline, said('ip -brief link'));
  });
  after(() => stage.close());
  const addressOf = async (pod: Pod): Promise<string> =>
    (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id })).status?.network?.ip ?? '';

  it('a port answers after StartContainer and never after StopPodSandbox', async () => {
    const pod = await runPod(stage, 'port');
    const address = await addressOf(pod);
    assert.match(address, /^10\.211\.0\.\d+$/);
    const id = await createContainer(stage, pod, { image, command: server });
    assert.notEqual(await ask(address, 8080), 'a page', 'not before the start');
    await stage.daemon.cri.runtime.startContainer({ containerId: id });
    assert.equal(await answers(address, 8080), 'a page');
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: pod.id });
    for (let attempt = 0; attempt < 3; attempt += 1) assert.notEqual(await ask(address, 8080), 'a page');
    assert.equal(await addressOf(pod), '');
    await removePod(stage, pod);
  });

  it('a host port is reached from loopback and from the host’s address, until the pod stops', async () => {
    const portMappings = [{ protocol: 0, containerPort: 8080, hostPort: 18080, hostIp: '' } as const];
    const pod = await runPod(stage, 'host-port', { portMappings });
    await runContainer(stage, pod, { image, command: server });
    assert.equal(await answers('127.0.0.1', 18080), 'a page');
    const second = await failureOf(runPod(stage, 'host-port-too', { portMappings }));
    assert.equal(second.code, 'NETWORK_HOST_PORT_TAKEN');
    assert.match(second.message, /18080/);
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: pod.id });
    assert.equal(await ask('127.0.0.1', 18080), 'ECONNREFUSED');
    const third = await runPod(stage, 'host-port-too', { portMappings });
    await removePod(stage, third);
    await removePod(stage, pod);
  });

  it('an annotation that requests ports of the host is refused, and changes nothing outside the pod', async () => {
    // The bridge notices the end of the previous pod a moment later, so that its carrier is not compared.
    const outside = (): string =>
      ['nft --stateless list ruleset', 'ip -brief address', 'ip route', 'ss -Hlntu']
        .map((words) =>
          said(words)
            .replaceAll(/ linkdown| (?:UP|DOWN|UNKNOWN)| +$/gmu, '')
            .replaceAll(/ +/gu, ' '),
        )
        .join('\n');
    const before = outside();
    const services = [{ name: 'x', ingressPorts: ['22:2222', '10250:8443', '53:5353/udp'] }];
    const annotations = { 'portcullis.dev/services': JSON.stringify(services) };
    const failure = await failureOf(runPod(stage, 'taker', { annotations }));
    assert.deepEqual([failure.code, failure.kind], ['NETWORK_SERVICE_INGRESS_CLOSED', 'denied']);
    const portMappings = [{ protocol: 1, containerPort: 53, hostPort: 53, hostIp: '' } as const];
    const port = await failureOf(runPod(stage, 'resolver', { portMappings }));
    assert.deepEqual([port.code, port.kind], ['NETWORK_HOST_PORT_CLOSED', 'denied']);
    assert.equal(outside(), before);
    assert.deepEqual((await stage.daemon.cri.runtime.listPodSandbox({})).items, []);
  });

  it('pods reach each other and the host; each has its own host name, hosts file and resolv.conf', async () => {
    const web = await runPod(stage, 'web');
    await runContainer(stage, web, { image, command: server });
    const dnsConfig = { servers: ['10.96.0.10'], searches: ['shop.svc'], options: ['ndots:5'] };
    const client = await runPod(stage, 'client', { dnsConfig });
    const id = await runContainer(stage, client, { image });
    const address = await addressOf(web);
    assert.equal(await answers(address, 8080), 'a page');
    const got = await execute(stage, id, 'wget', '-q', '-O', '-', `http://${address}:8080/`);
    assert.deepEqual(got, { exitCode: 0, stdout: 'a page\n', stderr: '' });
    assert.equal(
      (await execute(stage, id, 'cat', '/etc/resolv.conf')).stdout,
      'search shop.svc\nnameserver 10.96.0.10\noptions ndots:5\n',
    );
    assert.equal((await execute(stage, id, 'hostname')).stdout, 'client\n');
    assert.equal((await execute(stage, id, 'ping', '-c', '1', '-W', '2', '10.211.0.1')).exitCode, 0);
    assert.match((await execute(stage, id, 'ip', 'route')).stdout, /default via 10\.211\.0\.1/);
    await removePod(stage, web);
    await removePod(stage, client);
  });

  it('containers of a pod share its network and its loopback', async () => {
    const pod = await runPod(stage, 'shared');
    await runContainer(stage, pod, { name: 'server', image, command: server });
    const id = await runContainer(stage, pod, { name: 'client', image });
    let found = '';
    for (let attempt = 0; attempt < 50 && found === ''; attempt += 1)
      found = (await execute(stage, id, 'wget', '-q', '-O', '-', 'http://127.0.0.1:8080/')).stdout;
    assert.equal(found, 'a page\n');
    await removePod(stage, pod);
  });

  it('a pod that requests a host port in use fails and leaves nothing', async () => {
    const links = (): string => execFileSync('ip', ['-brief', 'link'], { encoding: 'utf8' });
    const portMappings = [{ protocol: 0, containerPort: 8080, hostPort: 18081, hostIp: '' } as const];
    const pod = await runPod(stage, 'holder', { portMappings });
    const before = links();
    const rules = execFileSync('nft', ['--stateless', 'list', 'ruleset'], { encoding: 'utf8' });
    const config = podConfig(stage, 'refused', { portMappings });
    for (let attempt = 0; attempt < 5; attempt += 1)
      await failureOf(stage.daemon.cri.runtime.runPodSandbox({ config }));
    assert.equal(links(), before);
    assert.equal(execFileSync('nft', ['--stateless', 'list', 'ruleset'], { encoding: 'utf8' }), rules);
    assert.equal((await stage.daemon.cri.runtime.listPodSandbox({})).items.length, 1);
    await removePod(stage, pod);
  });

  it('reports changes made inside a pod in ls, inspect and doctor, and reverts them on request', async () => {
    const pod = await runPod(stage, 'altered');
    const id = await createContainer(stage, pod, { image, command: server });
    await stage.daemon.cri.runtime.startContainer({ containerId: id });
    const address = await addressOf(pod);
    assert.equal(await answers(address, 8080), 'a page');
    const { folders } = stage;
    const places = [
      '--conf-dir',
      folders.cniConf,
      '--root',
      folders.root,
      '--admin-socket',
      join(folders.state, 'admin.sock'),
    ];
    const network = (...words: string[]): Promise<Ended> => portcullis(['network', ...words, ...places]);
    const database = new DatabaseSync(join(folders.root, 'network.db'), { readOnly: true });
    const netns = database
      .prepare("SELECT json_extract(spec, '$.netns') AS path FROM attachment WHERE container_id = ?")
      .get(pod.id)?.['path'];
    database.close();
    said(`nsenter --net=${String(netns)} ip addr flush dev eth0`);
    let list = '';
    for (let waited = 0; waited < 60_000 && !list.includes('1, 1 altered'); waited += 200) {
      await pause(200);
      list = (await network('ls')).stdout;
    }
    assert.match(list, / 1, 1 altered /);
    assert.match(
      (await network('inspect', 'e2e')).stdout,
      new RegExp(` altered: the address ${address}/28 is missing, the route to 0.0.0.0/0 `),
    );
    const config = {
      root: folders.root,
      state: folders.state,
      cni: { confDir: folders.cniConf, binDirs: [] },
      network: { plugins: 'auto', maxConfigs: 1 },
    } as const;
    const findings = await lostLinkFindings(config);
    assert.deepEqual(
      findings.map(({ state, found, meaning = [] }) => [state, found, meaning.length]),
      [['degraded', '1 altered', 1]],
    );
    const kept = await network('gc');
    assert.deepEqual([kept.code, /1 changed inside the pod/.test(kept.stdout)], [0, true], kept.output);
    assert.notEqual(await ask(address, 8080), 'a page');
    const given = await network('gc', '--altered');
    assert.deepEqual([given.code, given.stdout.includes('altered')], [0, false], given.output);
    assert.equal(await answers(address, 8080), 'a page');
    assert.doesNotMatch((await network('ls')).stdout, /altered/);
    assert.deepEqual(await lostLinkFindings(config), []);
    await removePod(stage, pod);
  });

  it('releases addresses: of fifty pods one after another, and of five pods at a time', async () => {
    for (let round = 0; round < 50; round += 1) await removePod(stage, await runPod(stage, 'turn'));
    const together = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((name) => runPod(stage, name)));
    const addresses = await Promise.all(together.map(addressOf));
    assert.equal(new Set(addresses).size, 5);
    await Promise.all(together.map((pod) => removePod(stage, pod)));
  });

  it('reports that no address is free, and assigns addresses again after a pod is removed', async () => {
    const pods: Pod[] = [];
    let failure;
    while (failure === undefined && pods.length < 16) {
      const [outcome] = await Promise.allSettled([runPod(stage, `full-${pods.length}`)]);
      if (outcome.status === 'fulfilled') pods.push(outcome.value);
      else failure = outcome.reason as { code: string; message: string };
    }
    assert.equal(failure?.code, 'NETWORK_ADDRESSES_EXHAUSTED');
    assert.match(failure.message, /10\.211\.0\.1-10\.211\.0\.14/);
    assert.ok(pods.length >= 12, String(pods.length));
    await removePod(stage, pods.pop() ?? assert.fail());
    pods.push(await runPod(stage, 'fits'));
    await Promise.all(pods.map((pod) => removePod(stage, pod)));
  });
});
