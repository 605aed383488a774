import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../../engine/engine.fixture.ts';
import type { NetworkEngine } from '../../types.ts';

/**
 * The examples of Kubernetes' page "Network Policies", judged by real connections between real namespaces.
 */

const policy = (name: string, spec: string, namespace = 'default'): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}\n---\n`;
const namespaces = `apiVersion: v1
kind: Namespace
metadata: { name: project, labels: { project: myproject } }
---
`;

/** An empty file is an error. */
const none = 'apiVersion: v1\nkind: List\nitems: []\n';

/** Columns: which pods reach db:80, which reach db:81, and which db reaches (its name and port). */
const rows: readonly (readonly [
  what: string,
  objects: string,
  at80: string,
  at81: string,
  egress: string,
])[] = [
  [
    'nothing',
    '',
    'client front host project',
    'client front host project',
    'client:80 front:80 host:80 project:80',
  ],
  [
    'default deny all ingress',
    policy('deny', '{ podSelector: {}, policyTypes: [Ingress] }'),
    'host',
    'host',
    'host:80 project:80',
  ],
  [
    'allow all ingress',
    policy('deny', '{ podSelector: {} }') + policy('all', '{ podSelector: {}, ingress: [{}] }'),
    'client front host project',
    'client front host project',
    'client:80 front:80 host:80 project:80',
  ],
  [
    'default deny all egress',
    policy('deny', '{ podSelector: {}, policyTypes: [Egress] }'),
    'host project',
    'host project',
    'host:80',
  ],
  [
    'allow all egress',
    policy('all', '{ podSelector: {}, egress: [{}], policyTypes: [Egress] }'),
    'client front host project',
    'client front host project',
    'client:80 front:80 host:80 project:80',
  ],
  [
    'default deny all',
    policy('deny', '{ podSelector: {}, policyTypes: [Ingress, Egress] }'),
    'host',
    'host',
    'host:80',
  ],
  [
    'the example: a block with a hole, a namespace, pods, one port',
    `${namespaces}${policy('test-network-policy', '{ podSelector: { matchLabels: { role: db } }, policyTypes: [Ingress, Egress], ingress: [{ from: [{ ipBlock: { cidr: 172.17.0.0/16, except: [172.17.1.0/24] } }, { namespaceSelector: { matchLabels: { project: myproject } } }, { podSelector: { matchLabels: { role: frontend } } }], ports: [{ protocol: TCP, port: 80 }] }], egress: [{ to: [{ ipBlock: { cidr: 10.88.0.0/24 } }], ports: [{ protocol: TCP, port: 81 }] }] }')}`,
    'front host project',
    'host',
    'host:80',
  ],
  [
    'a namespace and pods in one peer, and in two',
    `${namespaces}${policy('and', '{ podSelector: { matchLabels: { role: db } }, ingress: [{ from: [{ namespaceSelector: { matchLabels: { project: myproject } }, podSelector: { matchLabels: { role: frontend } } }] }, { from: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: default } }, podSelector: { matchExpressions: [{ key: role, operator: DoesNotExist }] } }], ports: [{ port: 80, endPort: 90 }] }] }')}`,
    'client host',
    'client host',
    'client:80 front:80 host:80 project:80',
  ],
  [
    'a named port of the pod, and of its peers',
    policy(
      'named',
      '{ podSelector: { matchLabels: { role: db } }, ingress: [{ ports: [{ port: web }] }], egress: [{ ports: [{ port: web }] }] }',
    ),
    'client front host project',
    'host',
    'front:80 host:80',
  ],
  [
    'policies add up',
    policy(
      'one',
      '{ podSelector: { matchLabels: { role: db } }, ingress: [{ from: [{ podSelector: { matchLabels: { role: frontend } } }] }] }',
    ) +
      policy('two', '{ podSelector: {}, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 81 }] }] }'),
    'front host',
    'client front host',
    'host:80 project:80',
  ],
];

if (inPrivateNetns(import.meta.filename, 240_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  const pods = new Map<string, Pod>();
  const folder = (): string => join(fixture.folder, 'policies');
  const put = (text: string): void => {
    writeFileSync(join(fixture.folder, 'new.yaml'), text === '' ? none : text);
    renameSync(join(fixture.folder, 'new.yaml'), join(folder(), 'policies.yaml'));
  };
  const podOf = (name: string): Pod => pods.get(name) ?? assert.fail(name);
  const addressOf = (name: string): string =>
    name === 'host' ? '10.88.0.1' : (engine.get(podOf(name).request.id)?.ips[0]?.address.split('/')[0] ?? '');
  const names = ['db', 'client', 'front', 'project'];

  before(async () => {
    fixture = createFixture();
    mkdirSync(folder());
    engine = await fixture.engine();
    const listening = (port: number): string =>
      `require('net').createServer(s=>s.on('error',()=>0).end('yes')).listen(${port},'0.0.0.0').on('error',()=>0);`;
    for (const name of names) {
      const labels: Record<string, string> =
        name === 'db' ? { role: 'db' } : name === 'front' ? { role: 'frontend' } : {};
      const pod = fixture.pod(name, {
        pod: { name, uid: name, namespace: name === 'project' ? 'project' : 'default', labels },
      });
      pods.set(name, pod);
      await engine.attach(pod.request);
      const namedPorts = [{ name: 'web', protocol: 'tcp', port: 80 }] as const;
      await engine.setClass(pod.request.id, 'user', name === 'db' || name === 'front' ? { namedPorts } : {});
      fixture.start(
        'nsenter',
        `--net=${pod.request.netns}`,
        process.execPath,
        '-e',
        listening(80) + listening(81),
      );
    }
    fixture.start(process.execPath, '-e', listening(80));
    for (const name of names)
      await eventually(
        () => tried(`timeout 0.5 busybox nc ${addressOf(name)} 81 </dev/null`)?.includes('yes') || undefined,
        20_000,
      );
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });

  /**
   * Seconds of silence that count as denied; longer after each unexpected result, for a machine that is slow
   * at allowed connections.
   */
  let silence = 0.6;
  const reaches = (from: string, to: string, port: number): boolean => {
    const command = `timeout ${silence} busybox nc ${addressOf(to)} ${port} </dev/null`;
    return (
      (from === 'host' ? tried(command) : podOf(from).run(`sh -c '${command}'`))?.includes('yes') === true
    );
  };
  /** Tries all connections at once: a denied connection is silence, which takes time. */
  const tries = async (
    from: string,
    targets: readonly (readonly [to: string, port: number])[],
  ): Promise<string[]> => {
    const one = ([to, port]: readonly [string, number]): string =>
      `(timeout ${silence} busybox nc ${addressOf(to)} ${port} </dev/null | grep -q yes && echo ${to}:${port}) &`;
    const script = `${targets.map(one).join(' ')} wait`;
    const command =
      from === 'host'
        ? ['sh', '-c', script]
        : ['nsenter', `--net=${podOf(from).request.netns}`, 'sh', '-c', script];
    const [program = '', ...rest] = command;
    return (await promisify(execFile)(program, rest)).stdout
      .split('\n')
      .filter((line) => line !== '')
      .sort();
  };
  const others = ['client', 'front', 'host', 'project'];
  const found = async (): Promise<string[]> => {
    const into = await Promise.all(
      others.map((name) =>
        tries(name, [
          ['db', 80],
          ['db', 81],
        ]),
      ),
    );
    const at = (port: number): string =>
      others.filter((_, index) => into[index]?.includes(`db:${port}`)).join(' ');
    return [
      at(80),
      at(81),
      (
        await tries(
          'db',
          others.map((name) => [name, 80] as const),
        )
      ).join(' '),
    ];
  };

  for (const [what, objects, at80, at81, egress] of rows)
    test(what, async () => {
      put(objects);
      const expected = [at80, at81, egress];
      // The folder is read twice a second; after that the policies are in force.
      let last: string[] = [];
      for (
        const end = performance.now() + 30_000;
        JSON.stringify(last) !== JSON.stringify(expected) && performance.now() < end;
      ) {
        last = await found();
        silence = Math.min(silence + 0.1, 3);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      silence = 0.6;
      assert.deepEqual(last, expected);
    });

  test('a file that is emptied or cannot be read changes nothing, and neither does a missing folder, before and after a restart', async () => {
    put('');
    await eventually(() => reaches('client', 'db', 80) || undefined, 20_000);
    put(policy('deny', '{ podSelector: {} }'));
    await eventually(() => !reaches('client', 'db', 80) || undefined, 20_000);
    const stays = async (): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 2500));
      assert.equal(reaches('client', 'db', 80), false);
    };
    put('kind: NetworkPolicy\nspec: [');
    await stays();
    // The beginning of the output of `kubectl get networkpolicies -A -o yaml > policies.yaml`.
    truncateSync(join(folder(), 'policies.yaml'));
    await stays();
    const { policies } = await engine.figures();
    assert.equal(policies.policies, 1);
    assert.match(
      policies.problems.join(),
      /policies\.yaml:1:1: the file is empty.*its last good version stays in force/u,
    );
    rmSync(folder(), { recursive: true });
    await stays();
    await engine.close({ removeAll: false });
    engine = await fixture.engine();
    await stays();
    assert.match(
      (await engine.figures()).policies.problems.join(),
      /is gone; the last policies stay in force/u,
    );
    const denials = await engine.denials();
    assert.ok(
      denials.some(
        ({ rule, pod, direction }) =>
          rule === 'NetworkPolicy default/deny' && pod.name === 'db' && direction === 'ingress',
      ),
    );
    assert.match(shell('nft list table inet portcullis_rules'), /NetworkPolicy default\/deny/u);
    mkdirSync(folder());
    put('');
    await eventually(() => reaches('client', 'db', 80) || undefined, 20_000);
  });

  test('a policy that cannot be understood isolates the pods that it may select and is reported, and the rest of its file applies', async () => {
    put('');
    await eventually(() => reaches('client', 'db', 80) || undefined, 20_000);
    const bad = policy(
      'newer',
      '{ podSelector: { matchLabels: { role: db } }, policyTypes: [Ingress], ingress: [{ from: [{ nodeSelector: {} }] }] }',
    );
    put(
      bad +
        policy(
          'good',
          '{ podSelector: { matchLabels: { role: frontend } }, ingress: [{ ports: [{ port: 81 }] }] }',
        ),
    );
    await eventually(() => !reaches('client', 'db', 80) || undefined, 20_000);
    await eventually(() => !reaches('client', 'front', 80) || undefined, 20_000);
    assert.deepEqual(
      [reaches('client', 'front', 81), reaches('host', 'db', 80), reaches('db', 'client', 80)],
      [true, true, true],
    );
    const rule = 'NetworkPolicy default/newer (cannot be understood)';
    await eventually(() => shell('nft list table inet portcullis_rules').includes(rule) || undefined, 20_000);
    assert.ok((await engine.denials()).some((denial) => denial.rule === rule && denial.pod.name === 'db'));
    const connection = {
      direction: 'ingress',
      peer: addressOf('client'),
      protocol: 'tcp',
      port: 80,
    } as const;
    const { outcome, steps } = await engine.explain({ pod: podOf('db').request.id, connection });
    assert.equal(outcome, 'denied');
    assert.ok(steps.some((step) => step.rule === rule && step.why.includes('nodeSelector')));
    assert.match(
      (await engine.status()).policies?.problems.join() ?? '',
      /policies\.yaml:4:\d+: .*nodeSelector/u,
    );
  });

  test('host bits of a block are ignored, as the API ignores them', async () => {
    put(
      policy(
        'bits',
        `{ podSelector: { matchLabels: { role: db } }, ingress: [{ from: [{ ipBlock: { cidr: ${addressOf('front')}/32 } }, { ipBlock: { cidr: 10.99.0.5/24 } }] }] }`,
      ),
    );
    await eventually(() => !reaches('client', 'db', 80) || undefined, 20_000);
    await eventually(() => reaches('front', 'db', 80) || undefined, 20_000);
    assert.equal(reaches('client', 'db', 80), false);
    put(
      policy(
        'bits',
        '{ podSelector: { matchLabels: { role: db } }, ingress: [{ from: [{ ipBlock: { cidr: 10.88.0.5/24 } }] }] }',
      ),
    );
    await eventually(() => reaches('client', 'db', 80) || undefined, 20_000);
  });

  test('a profile and a policy must both grant a connection', async () => {
    put('');
    await eventually(() => reaches('client', 'db', 81) || undefined, 20_000);
    const rules = {
      egress: [{ cidr: '10.88.0.0/24', protocol: 'tcp', ports: { low: 80, high: 80 } }],
    } as const;
    await engine.setClass(podOf('client').request.id, 'user', rules);
    await eventually(() => reaches('client', 'db', 80) || undefined, 20_000);
    assert.equal(reaches('client', 'db', 81), false);
    put(policy('other', '{ podSelector: {}, egress: [{ ports: [{ port: 81 }] }], policyTypes: [Egress] }'));
    await eventually(() => !reaches('client', 'db', 80) || undefined, 20_000);
    assert.deepEqual([reaches('client', 'db', 81), reaches('front', 'db', 81)], [false, true]);
  });
}
