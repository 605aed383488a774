import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { configSchema } from '../../runtime/config/schema.ts';
import type { ConfigSchema } from '../../runtime/config/config-schema.ts';
import { containerConfig, podConfig } from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy, podNamespace, policyOf } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { isWide } from '../fixtures/width.ts';

/** Options that the stage sets by a flag, that need separate files, or that the daemon does not read. */
const given = [
  '$schema',
  'socket',
  'root',
  'state',
  'policy',
  'cni.confDir',
  'cgroupDriver',
  'streaming.tls.certFile',
  'streaming.tls.keyFile',
  // Instead of the files of a policy, which this test writes.
  'policySubscription',
];

/** Values for options whose values the schema does not determine. */
const own: Readonly<Record<string, readonly unknown[]>> = {
  'cni.binDirs': [['/usr/lib/cni'], ['/nonexistent']],
  // Not the policies of a cluster, which replace the files that this test writes.
  cluster: [undefined, { kubeconfig: '/nonexistent', nodeName: 'node-1' }],
  // Both images of the planted pair, or none.
  enforcement: [
    undefined,
    {
      ...{ admitted: 'good.test/app/a:1', refused: 'good.test/app/b:1', namespace: 'planted' },
      ...{ interval: 60, accept: ['NO_PLANTED_PAIR'] },
    },
  ],
  'registries.mirrors': [{}, { 'other.test': { url: 'http://127.0.0.1:9', origin: true } }],
  'registries.prefixes': [
    {},
    { '*.other.test': { blocked: true } },
    { 'other.test/app': { mirrors: [{ url: 'http://127.0.0.1:9', tags: false }] } },
  ],
  'registries.insecure': [[], ['good.test']],
  'images.pinned': [[], ['good.test/*']],
  'images.lazy': [false, true],
  'registries.certificates': [[], ['/nonexistent']],
  'registries.tls': [{}, { 'other.test': { ca: ['/nonexistent'] } }],
  'cdi.specDirs': [[], ['/nonexistent']],
  'network.dns.upstreams': [[], ['127.0.0.1']],
  'network.kubernetes': [
    undefined,
    {
      ...{ kubeconfig: '/nonexistent', servers: ['https://127.0.0.1:9'] },
      dns: { address: '169.254.20.53' },
    },
  ],
  'network.services.kubernetes': [undefined, { kubeconfig: '/nonexistent', nodePortAddresses: ['primary'] }],
  'network.pods': [undefined, { from: 'runtimeConfig', ranges: ['10.78.0.0/16'] }],
  'network.overlay': [
    undefined,
    { network: '10.77.0.0/16', underlay: '127.0.0.1', etcd: { endpoints: ['http://127.0.0.1:9'] } },
  ],
  runtimes: [{ crun: { path: '/usr/bin/crun' }, runc: { path: '/usr/sbin/runc' } }],
  defaultRuntime: ['crun', 'runc'],
  'streaming.address': ['127.0.0.1', '0.0.0.0'],
  sysctls: [{}, { 'net.ipv4.ip_unprivileged_port_start': '1024' }],
  'metrics.address': ['', '127.0.0.1:0'],
  'tracing.endpoint': ['', 'http://127.0.0.1:9'],
  // An aggregator that does not answer.
  fleet: [undefined, { endpoint: 'http://127.0.0.1:9', node: 'n', labels: { zone: 'a' } }],
  'audit.path': ['audit.log'],
  // Plugins of the node, of which there are none.
  nri: [
    undefined,
    {
      ...{ enabled: true, socket: '', pluginPath: '/nonexistent', pluginConfigPath: '/nonexistent' },
      ...{ requestTimeout: 100, allowHooks: ['/bin/true'] },
    },
  ],
  checkpoint: [
    undefined,
    { enabled: true, restore: true, folders: ['/nonexistent'], maxSize: '1Mi', timeout: 1 },
  ],
  'peers.uids': [[], [12_345]],
  'peers.gids': [[], [12_345]],
  kubeletRoot: ['/var/lib/kubelet', '/nonexistent'],
  logLevel: ['debug', 'info'],
  // `strict` refuses Debian's runtimes: the daemon then does not start, which is a separate case below.
  strict: [false],
};

/** Policies that admit nothing. Some are not policies at all. */
const policies: Readonly<Record<string, string | undefined>> = {
  'no file': undefined,
  'no rule': policyOf('  []\n'),
  'a deny rule': policyOf('  - images: ["**"]\n    deny: everything\n'),
  'a policy document that only restricts': `apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nnamespaces: ["${podNamespace}"]\nrules:\n  - images: ["**"]\n    require: { cosign: { key: k.pub } }\n`,
  'an expired break-glass exception': policyOf(
    '  - images: ["**"]\n    deny: everything\n    breakGlass: { until: 2020-01-01, reason: r, by: me }\n',
  ),
  'a broken file': plainPolicy.replace('require', 'requires'),
};

interface Option {
  readonly name: string;
  readonly values: readonly unknown[];
}

function optionsOf(schema: ConfigSchema, path: readonly string[] = []): readonly Option[] {
  const name = path.join('.');
  if (given.includes(name)) return [];
  if (own[name] !== undefined) return [{ name, values: own[name] }];
  if (schema.properties !== undefined)
    return Object.entries(schema.properties).flatMap(([key, part]) => optionsOf(part, [...path, key]));
  return [{ name, values: valuesOf(schema) }];
}

function valuesOf(schema: ConfigSchema): readonly unknown[] {
  const choices = schema['enum'];
  if (Array.isArray(choices)) return choices;
  if (schema.type === 'boolean') return [false, true];
  if (schema.type === 'integer') return [...new Set([schema['minimum'], schema.default])];
  // Sizes.
  return [...new Set([schema.default, '32Mi'])];
}

type Choice = ReadonlyMap<string, unknown>;

/** A value of an option: the index of the option, and of the value among its values. */
type Value = readonly [option: number, value: number];

/**
 * Returns configurations that contain every pair of values of two options at least once. The algorithm is
 * greedy (AETG) and deterministic.
 */
function pairwise(options: readonly Option[], from: number): readonly Choice[] {
  const sizes = options.map(({ values }) => values.length);
  const pairs: (readonly [Value, Value])[] = [];
  /** The index in `pairs` of the first values of two options. */
  const starts = sizes.map((size, i) =>
    sizes.map((other, j) => {
      const start = pairs.length;
      if (i < j)
        for (let x = 0; x < size; x += 1)
          for (let y = 0; y < other; y += 1)
            pairs.push([
              [i, x],
              [j, y],
            ]);
      return start;
    }),
  );
  // Numbers, because there are millions of lookups.
  const open = new Uint8Array(pairs.length).fill(1);
  const pairsOf = (row: readonly number[]): number[] =>
    row.flatMap((x, i) =>
      row.slice(i + 1).map((y, k) => (starts[i]?.[i + 1 + k] ?? 0) + x * (sizes[i + 1 + k] ?? 0) + y),
    );
  const gain = (row: readonly number[]): number => {
    let sum = 0;
    for (const pair of pairsOf(row)) sum += open[pair] ?? 0;
    return sum;
  };
  let seed = from;
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const rows: Choice[] = [];
  for (let first = open.indexOf(1); first !== -1; first = open.indexOf(1, first)) {
    // The best of several rows, each built around a pair that is still missing.
    const fixed = new Map<number, number>(pairs[first]);
    const candidates = Array.from({ length: 400 }, () =>
      sizes.map((size, index) => fixed.get(index) ?? random(size)),
    );
    const gains = candidates.map(gain);
    const best = candidates[gains.indexOf(Math.max(...gains))] ?? [];
    for (const pair of pairsOf(best)) open[pair] = 0;
    rows.push(new Map(options.map(({ name, values }, index) => [name, values[best[index] ?? 0]])));
  }
  return rows;
}

/**
 * Returns the first rows that together contain every value of every option. They contain most pairs of
 * values.
 */
function withEachValue(options: readonly Option[], rows: readonly Choice[]): readonly Choice[] {
  const contain = (some: readonly Choice[]): boolean =>
    options.every(({ name, values }) => values.every((value) => some.some((row) => row.get(name) === value)));
  const count = rows.findIndex((_, index) => contain(rows.slice(0, index + 1))) + 1;
  assert.ok(count > 0, 'no row contains some value');
  return rows.slice(0, count);
}

function documentOf(choice: Choice): Record<string, unknown> {
  const document: Record<string, unknown> = {};
  for (const [name, value] of choice) {
    if (name === 'the policy') continue;
    const path = name.split('.');
    let place = document;
    for (const key of path.slice(0, -1)) place = (place[key] ??= {}) as Record<string, unknown>;
    place[path.at(-1) ?? ''] = value;
  }
  return document;
}

/**
 * FUZZ_SEED selects other configurations. FUZZ_TIMES multiplies their number. `npm run test:deny-all` tests
 * every pair of values, `npm test` every value.
 */
const from = Number(process.env['FUZZ_SEED'] ?? 7) % 2_147_483_646;
const times = Number(process.env['FUZZ_TIMES'] ?? 1);
const refusals = ['IMAGES_DENIED', 'IMAGES_NO_POLICY', 'IMAGES_UNDECIDED'];

describe('a policy that admits nothing admits nothing in any configuration', () => {
  const options = optionsOf(configSchema);
  const dimensions = [{ name: 'the policy', values: Object.keys(policies) }, ...options];
  const rows = Array.from({ length: times }, (_, index) => pairwise(dimensions, from + index)).flatMap(
    (all) => (isWide ? all : withEachValue(dimensions, all)),
  );
  let stage: Stage;
  let reference = '';
  let image = '';
  let config = '';
  let pods = 0;

  before(async () => {
    stage = await openStage({ flags: [] });
    ({ reference } = await stage.publish('app/a:1'));
    // The image is present, admitted by the previous policy.
    image = await stage.pull(reference);
    config = join(stage.folders.folder, 'config.yaml');
  });
  after(async () => {
    await stage.restart({
      meanwhile: () => Promise.resolve(configure(new Map([['the policy', 'no rule']]))),
    });
    // Third-party plugins (`network.plugins: exec`) leave their bridge.
    spawnSync('ip', ['link', 'delete', 'e2e0', 'type', 'bridge']);
    await stage.close();
  });

  function configure(choice: Choice): void {
    writeFileSync(config, JSON.stringify(documentOf(choice)));
    const policy = policies[String(choice.get('the policy'))];
    if (policy === undefined) rmSync(join(stage.folders.policy, 'policy.yaml'), { force: true });
    else stage.writePolicy(policy);
  }

  it(`covers all ${options.length} options, in ${rows.length} configurations that contain every value`, () => {
    assert.ok(options.length >= 30, options.map(({ name }) => name).join(', '));
    assert.ok(options.every(({ values }) => values.length > 0));
  });

  /**
   * Tries pulls, and creations if this configuration can run a pod.
   * @returns whether it tried creations
   */
  async function admitsNothing(choice: Choice, pod: string): Promise<boolean> {
    const refused = async (call: Promise<unknown>): Promise<void> => {
      const { code } = await failureOf(call);
      assert.ok(refusals.includes(code), `${code} under ${JSON.stringify(documentOf(choice))}`);
    };
    for (const namespace of [podNamespace, 'other', '']) await refused(stage.pull(reference, namespace));
    const { runtime } = stage.daemon.cri;
    const sandbox = podConfig(stage, pod);
    const podSandboxId = await runtime.runPodSandbox({ config: sandbox, runtimeHandler: '' }).then(
      (answer) => answer.podSandboxId,
      (thrown: unknown) => void assert.ok(isPortcullisError(thrown)),
    );
    if (podSandboxId === undefined) return false;
    const volume = { more: { mounts: [{ containerPath: '/v', image: { image: reference } }] } };
    for (const ask of [{ image }, { image, reference }, { image: reference }, { image, ...volume }])
      await refused(
        runtime.createContainer({ podSandboxId, config: containerConfig(ask), sandboxConfig: sandbox }),
      );
    assert.deepEqual((await runtime.listContainers({})).containers, []);
    await runtime.removePodSandbox({ podSandboxId });
    return true;
  }

  for (const [index, choice] of rows.entries()) {
    it(`configuration ${index + 1}: ${String(choice.get('the policy'))}`, async () => {
      await stage.restart({
        meanwhile: () => Promise.resolve(configure(choice)),
        flags: ['--config', config],
      });
      if (await admitsNothing(choice, `p${index}`)) pods += 1;
    });
  }

  it('strict, with a runtime that has no known flaw', async () => {
    const path = join(stage.folders.folder, 'flawless');
    writeFileSync(path, '#!/bin/sh\n[ "$1" != --version ] || { echo flawless 1; exit; }\nexec crun "$@"\n', {
      mode: 0o755,
    });
    const choice: Choice = new Map<string, unknown>([
      ['the policy', 'no rule'],
      ['strict', true],
      ['runtimes', { flawless: { path } }],
      ['defaultRuntime', 'flawless'],
    ]);
    await stage.restart({
      meanwhile: () => Promise.resolve(configure(choice)),
      flags: ['--config', config],
    });
    assert.ok(await admitsNothing(choice, 'strict'), 'a container was requested');
  });

  it('strict: the daemon does not start, or it refuses the image', async () => {
    const choice: Choice = new Map<string, unknown>([
      ['the policy', 'no rule'],
      ['strict', true],
    ]);
    try {
      await stage.restart({
        meanwhile: () => Promise.resolve(configure(choice)),
        flags: ['--config', config],
      });
    } catch (thrown) {
      assert.match(String(thrown), /RUNTIME_HANDLER_VULNERABLE/);
      await stage.restart({
        kill: true,
        meanwhile: () => Promise.resolve(configure(new Map([['the policy', 'no rule']]))),
      });
      return;
    }
    assert.ok(refusals.includes((await failureOf(stage.pull(reference))).code));
  });

  it('most configurations can run a pod', () => {
    assert.ok(pods > rows.length / 2, `${pods} of ${rows.length}`);
  });
});
