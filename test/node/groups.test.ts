import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEtcd } from '../../cni-plugins/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import { listGroups } from '../../node/index.ts';
import type { ListedGroup } from '../../node/index.ts';
import { portcullis } from '../fixtures/command.ts';
import { createHosts, endpoint, etcdTool } from '../overlay/hosts.ts';
import type { Hosts } from '../overlay/hosts.ts';
import { nodeHost } from './agents.ts';
import type { NodeHost } from './agents.ts';

/** The promise: drift is repaired within this time. */
const healMs = 10_000;
const limitMs = 120_000;
const names = ['host-1', 'host-2', 'host-3', 'host-4', 'host-5'];

interface Asked {
  readonly ttl: number;
  readonly more?: string;
  readonly healthySeconds?: number;
  readonly deadlineSeconds?: number;
}

describe('a group of five nodes', { skip: etcdTool.skip, timeout: 900_000 }, () => {
  let all: Hosts;
  let client: EtcdClient;
  let hosts: NodeHost[] = [];
  const hostOf = (name: string): NodeHost => {
    const found = hosts.find((host) => host.name === name);
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  };
  const status = async (): Promise<ListedGroup> => {
    const [group] = await listGroups(client, 'web');
    if (group === undefined) throw new Error('there is no group');
    return group;
  };

  /** Waits, and returns the most nodes that were seen to change at one time. */
  const until = async (what: string, isDone: (group: ListedGroup) => boolean): Promise<number> => {
    const began = performance.now();
    for (let most = 0; ; await sleep(50)) {
      const group = await status();
      most = Math.max(most, group.nodes.filter(({ phase }) => phase === 'changing').length);
      if (isDone(group)) return most;
      if (performance.now() - began > limitMs)
        assert.fail(
          `not within ${limitMs / 1000} s: ${what}: ${JSON.stringify(group)}\n${hosts.map((host) => host.log()).join('')}`,
        );
    }
  };
  const isComplete = ({ state }: ListedGroup): boolean => state === 'complete';
  const run = async (...words: readonly string[]): Promise<void> => {
    const ended = await portcullis(['node', 'group', ...words, '--etcd', endpoint]);
    assert.equal(ended.code, 0, ended.output);
  };
  const apply = async ({
    ttl,
    more = '',
    healthySeconds = 0,
    deadlineSeconds = 60,
  }: Asked): Promise<void> => {
    const file = join(all.folder, 'group.yaml');
    writeFileSync(
      file,
      `apiVersion: portcullis.dev/v1alpha1
kind: NodeGroup
metadata: { name: web }
selector: { labels: { role: web } }
rollout: { deadlineSeconds: ${deadlineSeconds}, gate: { healthySeconds: ${healthySeconds}, daemonReady: false } }
template:
  sysctls: { net.ipv4.ip_default_ttl: ${ttl} }
  networks:
    - { name: pods, subnets: [10.99.0.0/24] }
${more}`,
    );
    await run('apply', '-f', file);
  };
  const heals = async (host: NodeHost, what: string, isHealed: () => boolean): Promise<number> => {
    const began = performance.now();
    while (!isHealed()) {
      const ms = performance.now() - began;
      if (ms > healMs) assert.fail(`${host.name}: ${what} is not repaired after ${ms} ms\n${host.log()}`);
      await sleep(20);
    }
    return performance.now() - began;
  };

  const eventuallyLogged = async (host: NodeHost, text: string): Promise<void> => {
    const began = performance.now();
    while (!host.log().includes(text)) {
      if (performance.now() - began > limitMs)
        assert.fail(`${host.name} does not log: ${text}\n${host.log()}`);
      await sleep(100);
    }
  };

  before(async () => {
    all = createHosts(names.length);
    await all.startEtcd();
    client = openEtcd({ endpoints: [endpoint] });
    hosts = all.hosts.map((host) => nodeHost(host, all.folder));
    for (const host of hosts) host.start();
  });
  after(async () => {
    for (const host of hosts) await host.kill();
    client.close();
    await all.end();
  });

  it('gets a state one node after the other', async (t) => {
    await apply({ ttl: 70 });
    const most = await until(
      'five nodes have the state',
      (group) => isComplete(group) && group.nodes.length === 5,
    );
    assert.equal(most, 1);
    assert.deepEqual(
      hosts.map((host) => host.ttl()),
      names.map(() => '70'),
    );
    for (const host of hosts) assert.ok(existsSync(join(host.confDir, '50-pods.conflist')), host.name);
    t.diagnostic('five nodes changed, one at a time');
  });

  it('repairs drift within ten seconds', async (t) => {
    const host = hostOf('host-3');
    const network = join(host.confDir, '50-pods.conflist');
    host.setTtl(33);
    const ttl = await heals(host, 'the setting', () => host.ttl() === '70');
    rmSync(network);
    const gone = await heals(host, 'the network', () => existsSync(network));
    writeFileSync(network, '{"cniVersion": "1.0.0", "name": "pods", "plug');
    const cut = await heals(host, 'the cut file', () => isWhole(network));
    t.diagnostic(`repaired after ${[ttl, gone, cut].map((ms) => Math.round(ms)).join(', ')} ms`);
  });

  it('refuses a local state on a node of the group', async () => {
    const file = join(all.folder, 'local.yaml');
    writeFileSync(file, 'apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n');
    const ended = await portcullis(['node', 'apply', '-f', file, ...hostOf('host-1').options]);
    assert.notEqual(ended.code, 0);
    assert.match(ended.stderr, /NODE_GROUP_MEMBER/u);
  });

  it('stops at a bad node, and the nodes after it keep their state', async () => {
    // A network of another owner has the name that the new state requests.
    const other = join(hostOf('host-3').confDir, '60-extra.conflist');
    const pods = join(hostOf('host-3').confDir, '50-pods.conflist');
    writeFileSync(
      other,
      readFileSync(pods, 'utf8').replaceAll('"pods"', '"extra"').replaceAll('10.99.0', '10.98.0'),
    );
    await apply({
      ttl: 71,
      more: '    - { name: extra, subnets: [10.97.0.0/24], order: "70" }\n',
      deadlineSeconds: 6,
    });
    await until('the rollout is halted', ({ state }) => state === 'halted');
    const { halted, nodes } = await status();
    assert.equal(halted?.node, 'host-3');
    assert.match(halted.why, /not healthy within 6 s: networks extra: it already exists/u);
    await sleep(5000);
    assert.deepEqual((await status()).nodes, nodes, 'no further node changes');
    const waiting = nodes.filter(({ phase }) => phase === 'waiting');
    assert.ok(waiting.length > 0, JSON.stringify(nodes));
    for (const { name, phase } of nodes)
      assert.equal(hostOf(name).ttl(), phase === 'waiting' ? '70' : '71', name);
    rmSync(other);
  });

  it('continues after a resume, once the cause is removed', async () => {
    await run('resume', 'web');
    assert.equal(await until('five nodes have the state', isComplete), 1);
    assert.deepEqual(
      hosts.map((host) => host.ttl()),
      names.map(() => '71'),
    );
  });

  it('continues when the agent of the changing node is killed and started again', async () => {
    await apply({ ttl: 72, healthySeconds: 2 });
    let changing = '';
    await until('a node changes', ({ nodes }) => {
      changing = nodes.find(({ phase }) => phase === 'changing')?.name ?? '';
      return changing !== '' && hostOf(changing).ttl() === '72';
    });
    await hostOf(changing).kill();
    hostOf(changing).start();
    assert.equal(await until('five nodes have the state', ({ state }) => state !== 'progressing'), 1);
    assert.equal((await status()).state, 'complete', JSON.stringify(await status()));
  });

  it('stops when the changing node is lost, also after it came back, and a rollback restores the former state', async () => {
    await apply({ ttl: 73, healthySeconds: 3 });
    let changing = '';
    await until('a node changes', ({ nodes }) => {
      changing = nodes.find(({ phase }) => phase === 'changing')?.name ?? '';
      return changing !== '';
    });
    await hostOf(changing).kill();
    await until('the rollout is halted', ({ state }) => state === 'halted');
    assert.equal((await status()).halted?.node, changing);
    hostOf(changing).start();
    await eventuallyLogged(hostOf(changing), 'the node halts the rollout of its group');
    const { state, halted } = await status();
    assert.deepEqual([state, halted?.node], ['halted', changing]);
    await run('rollback', 'web');
    await until('five nodes have the former state', isComplete);
    assert.deepEqual(
      hosts.map((host) => host.ttl()),
      names.map(() => '72'),
    );
  });

  it('continues without a node that is removed from the group, and takes it again when it comes back', async () => {
    const early = await portcullis(['node', 'group', 'forget', 'web', 'host-1', '--etcd', endpoint]);
    assert.match(early.stderr, /its agent runs.*\[NODE_NAME_TAKEN\]/u);
    await apply({ ttl: 76, healthySeconds: 3 });
    let lost = '';
    await until('a node changes', ({ nodes }) => {
      lost = nodes.find(({ phase }) => phase === 'changing')?.name ?? '';
      return lost !== '';
    });
    await hostOf(lost).kill();
    await until('the rollout is halted', ({ state }) => state === 'halted');
    await run('forget', 'web', lost);
    await until('four nodes have the state', isComplete);
    assert.equal((await status()).nodes.length, 4);
    hostOf(lost).start();
    await until('five nodes have the state', (group) => isComplete(group) && group.nodes.length === 5);
    assert.equal(hostOf(lost).ttl(), '76');
  });

  it('repairs drift while etcd is unreachable, and changes nodes again afterwards', async () => {
    await all.killEtcd();
    const host = hostOf('host-2');
    host.setTtl(33);
    await heals(host, 'the setting', () => host.ttl() === '76');
    await all.startEtcd();
    await apply({ ttl: 74 });
    await until('five nodes have the state', isComplete);
    assert.deepEqual(
      hosts.map((each) => each.ttl()),
      names.map(() => '74'),
    );
  });
});

function isWhole(file: string): boolean {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) !== undefined;
  } catch {
    return false;
  }
}
