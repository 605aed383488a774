import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { createFixture, inPrivateNetns } from '../../engine/engine.fixture.ts';
import type { Fixture } from '../../engine/engine.fixture.ts';
import type { NetworkEngine } from '../../types.ts';
import { startScriptedApi } from './api.fixture.ts';
import type { Path, ScriptedApi } from './api.fixture.ts';
import { isAllowedByAll } from './cluster-oracle.fixture.ts';
import type { WholeCluster } from './cluster-oracle.fixture.ts';
import { wholeClusters } from './generated-cluster-policies.fixture.ts';
import { clusters } from './generated.fixture.ts';
import type { ApiPod } from './oracle.fixture.ts';
import type { Target } from './traffic.agent.fixture.ts';

/** Compares the kernel's verdicts about real packets with the independent reading of the specification. */

const rounds = Number(process.env['PORTCULLIS_RUNS'] ?? 12);
const tcpPorts = [80, 81, 85, 91];
const udpPorts = [53, 90];
const homes = ['n1', 'n1', 'n2', 'n3'];

interface Member {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly string[];
  readonly agent: ChildProcess;
}

if (inPrivateNetns(import.meta.filename, 500_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let api: ScriptedApi;
  const members: Member[] = [];
  const known: Record<Path, Map<string, object>> = {
    pods: new Map(),
    namespaces: new Map(),
    networkpolicies: new Map(),
    nodes: new Map(),
    clusternetworkpolicies: new Map(),
  };

  before(async () => {
    fixture = createFixture();
    api = await startScriptedApi();
    api.install(true);
    const place = { kubeconfig: api.kubeconfig(join(fixture.folder, 'kubeconfig')) };
    engine = await fixture.engine({ policyCluster: { place, nodeName: 'here' } });
    for (const [index, namespace] of homes.entries()) {
      const name = `p${index}`;
      const { request } = fixture.pod(name, { pod: { name, namespace, uid: `u${index}` } });
      await engine.attach(request);
      await engine.setClass(request.id, 'user');
      const agent = spawn(
        'nsenter',
        [
          ...[
            `--net=${request.netns}`,
            process.execPath,
            join(import.meta.dirname, 'traffic.agent.fixture.ts'),
          ],
          ...[tcpPorts.join(), udpPorts.join()],
        ],
        { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
      );
      await once(agent, 'message');
      const addresses = (engine.get(request.id)?.ips ?? []).map(({ address }) => address.split('/')[0] ?? '');
      members.push({ id: request.id, name, namespace, addresses, agent });
    }
  });
  after(async () => {
    for (const { agent } of members) agent.disconnect();
    await engine.close({ removeAll: true });
    await api.stop();
    fixture.end();
  });

  /** The generated cluster, with the real pods in place of its first ones. */
  const withMembers = ({ pods, clusterPolicies = [], ...rest }: WholeCluster): WholeCluster => ({
    ...rest,
    clusterPolicies: withBlocks(clusterPolicies),
    pods: members.map(({ name, namespace, addresses }, index): ApiPod => {
      const like = pods[index % pods.length];
      return {
        metadata: { name, namespace, uid: `u${index}`, labels: like?.metadata.labels ?? {} },
        spec: { nodeName: 'here', containers: like?.spec.containers ?? [] },
        status: { phase: 'Running', podIPs: addresses.map((ip) => ({ ip })) },
      };
    }),
  });

  /** Blocks of the generated addresses become blocks of real ones. */
  const withBlocks = (policies: NonNullable<WholeCluster['clusterPolicies']>): typeof policies => {
    const [[four = '', six = ''] = [], [other = ''] = []] = members.map(({ addresses }) => addresses);
    const blocks = { '10.0.0.0/29': `${four}/32`, 'fd00::/125': `${six}/128`, '10.0.0.12/31': `${other}/32` };
    const text = Object.entries(blocks).reduce(
      (all, [from, to]) => all.replaceAll(JSON.stringify(from), JSON.stringify(to)),
      JSON.stringify(policies),
    );
    return JSON.parse(text) as typeof policies;
  };

  const putAll = (cluster: WholeCluster): void => {
    for (const [path, objects] of [
      ['namespaces', cluster.namespaces],
      ['pods', cluster.pods],
      ['networkpolicies', cluster.policies],
      ['nodes', cluster.nodes ?? []],
      ['clusternetworkpolicies', cluster.clusterPolicies ?? []],
    ] as const) {
      const now = new Map(
        (objects as readonly { metadata: { name: string; namespace?: string } }[]).map((object) => [
          `${object.metadata.namespace ?? ''}/${object.metadata.name}`,
          object,
        ]),
      );
      for (const [key, object] of known[path]) if (!now.has(key)) api.remove(path, object);
      for (const object of now.values()) api.put(path, object);
      known[path] = now;
    }
  };

  const targets = (): Target[] =>
    members.flatMap(({ addresses }) =>
      addresses.flatMap((host) => [
        ...tcpPorts.map((port): Target => ({ host, protocol: 'TCP', port })),
        ...udpPorts.map((port): Target => ({ host, protocol: 'UDP', port })),
      ]),
    );

  async function differences(cluster: WholeCluster): Promise<string[]> {
    const found: string[] = [];
    const all = targets();
    const answers = await Promise.all(
      members.map(async ({ agent }) => {
        const answered = once(agent, 'message');
        agent.send(all);
        return ((await answered) as [boolean[]])[0];
      }),
    );
    for (const [index, { addresses }] of members.entries())
      for (const [at, { host, protocol, port }] of all.entries()) {
        const from = addresses.find((address) => address.includes(':') === host.includes(':')) ?? '';
        const flow = { from, to: host, protocol, port };
        const [sender, receiver] = [from, host].map((ip) =>
          cluster.pods.find(({ status }) => status.podIPs.some((one) => one.ip === ip)),
        );
        if (sender === undefined || receiver === undefined || sender === receiver) continue;
        const right =
          isAllowedByAll(cluster, sender, 'egress', flow) &&
          isAllowedByAll(cluster, receiver, 'ingress', flow);
        const ours = answers[index]?.[at];
        if (ours !== right)
          found.push(`${from} -> ${host} ${protocol} ${port}: ${String(ours)}, right ${right}`);
      }
    return found;
  }

  test(`the kernel's verdicts for ${rounds} generated clusters match the specification`, () =>
    verdictsAreRight(clusters));

  test(`the kernel's verdicts for ${rounds} clusters with ClusterNetworkPolicies match the API documentation`, () =>
    verdictsAreRight(wholeClusters));

  async function verdictsAreRight(arbitrary: fc.Arbitrary<WholeCluster>): Promise<void> {
    let seen = 0;
    for (const generated of fc.sample(arbitrary, {
      numRuns: rounds,
      seed: Number(process.env['FUZZ_SEED'] ?? 7),
    })) {
      const cluster = withMembers(generated);
      putAll(cluster);
      seen += 1;
      // Changes arrive within a second. A packet may be lost while many programs run.
      let wrong: string[] = ['not compared'];
      for (let tries = 0; tries < 6 && wrong.length > 0; tries += 1) {
        await sleep(300);
        wrong = await differences(cluster);
      }
      assert.deepEqual(wrong, [], `cluster ${seen}: ${JSON.stringify(cluster)}`);
    }
    assert.equal(seen, rounds);
  }
}
