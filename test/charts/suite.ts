import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseDocuments } from '../../base/schema/index.ts';
import { bases, clusterFiles } from '../../packaging/release/cluster-files.ts';
import { findTool } from '../fixtures/tools.ts';
import { startCluster } from '../services-watch/cluster.ts';
import type { Cluster } from '../services-watch/cluster.ts';
import { makeLinks } from '../webhook/test-cluster.ts';

const [helm, kustomize] = [findTool('helm'), findTool('kustomize')];
const missing = ['helm', 'kustomize', 'etcd', 'kube-apiserver'].find((name) => findTool(name).skip !== false);
const skip = missing === undefined ? false : `no ${missing}: bash test/peers/get ${missing}`;
const folderOfBases = join(import.meta.dirname, '../../packaging/kubernetes');
const chart = join(folderOfBases, 'chart');

interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    readonly template?: { readonly metadata: object; readonly spec: PodSpec };
  };
}
interface PodSpec {
  readonly containers: readonly { readonly image: string }[];
  readonly initContainers?: readonly { readonly image: string }[];
}
interface Schema {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
}

const objectsOf = (text: string): KubernetesObject[] =>
  parseDocuments(text, 'objects')
    .documents.map(({ value }) => value as KubernetesObject | null)
    .filter((object) => object !== null)
    .sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
const nameOf = ({ kind, metadata: { name, namespace = '' } }: KubernetesObject): string =>
  `${kind} ${namespace}/${name}`;
const template = (from: string, ...values: readonly string[]) =>
  spawnSync(helm.path, ['template', 'test', from, '--include-crds', ...values], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
/** Without the annotations, which are for Helm. */
const rendered = (from: string, ...values: readonly string[]): KubernetesObject[] => {
  const { status, stdout, stderr } = template(from, ...values);
  assert.equal(status, 0, stderr);
  return objectsOf(stdout).map(({ metadata: { annotations: _, ...metadata }, ...rest }) => ({
    ...rest,
    metadata,
  }));
};
const built = (folder: string): KubernetesObject[] =>
  objectsOf(execFileSync(kustomize.path, ['build', folder], { encoding: 'utf8', maxBuffer: 2 ** 26 }));
const keyOf = (name: string): string => (name === 'node-installer' ? 'nodeInstaller' : name);
const only = (name: string): string[] =>
  bases.flatMap((base) => ['--set', `${keyOf(base)}.enabled=${base === name}`]);
const all = bases.flatMap((base) => ['--set', `${keyOf(base)}.enabled=true`]);

describe('the chart and the kustomize bases', { skip }, () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-charts-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('helm lint finds nothing', () => {
    const { status, stdout } = spawnSync(helm.path, ['lint', '--strict', chart, ...all], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout);
    assert.doesNotMatch(stdout, /\[(?:WARNING|ERROR)\]/u);
  });

  it('helm template without values renders the same webhook as kustomize', () => {
    assert.deepEqual(rendered(chart), built(join(folderOfBases, 'webhook')));
  });

  for (const name of bases)
    it(`${name}: helm template with only this component renders the same objects as kustomize`, () => {
      const withoutDefinitions = (objects: readonly KubernetesObject[]): KubernetesObject[] =>
        objects.filter(({ kind }) => name === 'webhook' || kind !== 'CustomResourceDefinition');
      assert.deepEqual(withoutDefinitions(rendered(chart, ...only(name))), built(join(folderOfBases, name)));
    });

  it('every value of the schema changes the rendered objects, and no value requires another value', () => {
    const schema = JSON.parse(readFileSync(join(chart, 'values.schema.json'), 'utf8')) as Schema;
    // Values that have an effect only together with others.
    const beside: Readonly<Record<string, object>> = {
      'nodeInstaller.stop': { nodeInstaller: { state: 'removed' } },
      'trust.tokens.realm': { trust: { tokens: { service: 'a', issuer: 'b', jwksConfigMap: 'c' } } },
      ...Object.fromEntries(
        ['service', 'issuer', 'jwksConfigMap'].map((name) => [
          `trust.tokens.${name}`,
          {
            trust: {
              tokens: { realm: 'https://a.example', service: 'a', issuer: 'b', jwksConfigMap: 'c' },
            },
          },
        ]),
      ),
    };
    const renderedWith = (...values: readonly object[]): string => {
      const files = values.map((value, index) => {
        const file = join(folder, `values-${index}.json`);
        writeFileSync(file, JSON.stringify(value));
        return ['--values', file];
      });
      const { status, stdout, stderr } = template(chart, ...all, ...files.flat());
      assert.equal(status, 0, `${JSON.stringify(values)}: ${stderr}`);
      return stdout;
    };
    const paths = leavesOf(schema);
    assert.ok(paths.length > 50, `${paths.length} values`);
    for (const { path, schema: leaf } of paths) {
      const base = beside[path.join('.')];
      const before = base === undefined ? [] : [base];
      // The switches of the components are set to true by the option above, which values of a file precede.
      const plain = path.at(-1) === 'enabled';
      const changed = plain
        ? template(chart, ...all, '--set', `${path.join('.')}=false`).stdout
        : renderedWith(...before, nested(path, sampleOf(path.join('.'), leaf)));
      assert.notEqual(changed, renderedWith(...before), path.join('.'));
    }
  });

  it('values that the schema does not allow are refused', () => {
    for (const value of [
      'webhook.replicas=1',
      'webhook.failurePolicy=Maybe',
      'webhook.replica=3',
      'images.registry=a b',
      'images.digests.webhook=sha256:0',
      'trust.tokens.realm=https://a.example',
      'nodeInstaller.state=gone',
      'webhook.platforms={linux/amd64 --policy=/x}',
      'webhook.platforms={all,linux/arm64}',
      'webhook.certificateLifetime=1s',
      // Helm removes a value that is null: its limit would be gone with it.
      'trust.clients=null',
      'webhook.resources=null',
      'fleet.tlsSecret=null',
    ])
      assert.notEqual(template(chart, '--set', value).status, 0, value);
  });

  it('the chart keeps the namespaces, and with them the databases, when it is uninstalled', () => {
    const spaces = objectsOf(template(chart, ...all).stdout).filter(({ kind }) => kind === 'Namespace');
    assert.equal(spaces.length, bases.length);
    for (const { metadata } of spaces)
      assert.equal(metadata.annotations?.['helm.sh/resource-policy'], 'keep', metadata.name);
  });

  it('the chart refuses two components in one namespace', () => {
    const { status, stderr } = template(chart, ...all, '--set', 'trust.namespace=portcullis-fleet');
    assert.notEqual(status, 0);
    assert.match(stderr, /two components have the namespace portcullis-fleet/u);
  });

  it('the chart passes a text as one argument, whatever characters it contains', () => {
    const file = join(folder, 'odd.json');
    const tokens = { service: 'a: b # c', issuer: '"x"\n- y', jwksConfigMap: 'c' };
    const write = (realm: string): void =>
      writeFileSync(file, JSON.stringify({ trust: { enabled: true, tokens: { ...tokens, realm } } }));
    write('https://a.example/#b:');
    const [container] = rendered(chart, '--values', file).flatMap(
      ({ kind, spec }) => (kind === 'StatefulSet' && spec?.template?.spec.containers) || [],
    );
    const { args = [] } = (container ?? {}) as { readonly args?: readonly string[] };
    for (const wanted of [
      '--auth-realm=https://a.example/#b:',
      `--auth-service=${tokens.service}`,
      `--auth-issuer=${tokens.issuer}`,
    ])
      assert.ok(args.includes(wanted), JSON.stringify(args));
    write('https://a.example\n---\nkind:\tPod');
    assert.notEqual(template(chart, '--values', file).status, 0);
  });

  it('a release names every image by its digest, and its archives render the same objects', async () => {
    const digests = Object.fromEntries(
      bases.map((name, index) => [name, `sha256:${String(index).repeat(64)}`]),
    );
    const files = await clusterFiles('registry.test:5000/team', digests, 1_700_000_000);
    assert.deepEqual(
      files.map(({ bytes }) => bytes),
      (await clusterFiles('registry.test:5000/team', digests, 1_700_000_000)).map(({ bytes }) => bytes),
    );
    mkdirSync(join(folder, 'kustomize'));
    for (const { name, bytes } of files) writeFileSync(join(folder, name), bytes);
    const [packaged = '', archive = ''] = files.map(({ name }) => join(folder, name));
    execFileSync('tar', ['-xzf', archive, '-C', join(folder, 'kustomize')]);
    for (const name of bases) {
      const objects = built(join(folder, 'kustomize', name));
      const charted = rendered(packaged, ...only(name));
      const images = [...objects, ...charted].flatMap(imagesOf);
      assert.ok(images.length >= 2, name);
      for (const image of images)
        assert.equal(image, `registry.test:5000/team/${name}@${digests[name] ?? ''}`);
      assert.deepEqual(
        charted.filter(({ kind }) => name === 'webhook' || kind !== 'CustomResourceDefinition'),
        objects,
      );
    }
  });

  it('an upgrade with the values of the previous release uses the images of the new release', async () => {
    const release = async (digit: string): Promise<string> => {
      const digests = Object.fromEntries(bases.map((name) => [name, `sha256:${digit.repeat(64)}`]));
      const [file] = await clusterFiles('registry.test/team', digests, 1_700_000_000);
      const path = join(folder, `release-${digit}.tgz`);
      writeFileSync(path, file?.bytes ?? '');
      return path;
    };
    const [previous, next] = [await release('a'), await release('b')];
    const kept = join(folder, 'kept.yaml');
    // `helm upgrade --reuse-values` takes all values of the previous release, also those of its chart.
    writeFileSync(kept, execFileSync(helm.path, ['show', 'values', previous]));
    const imagesWith = (...values: readonly string[]): Set<string> =>
      new Set(rendered(next, ...only('webhook'), '--values', kept, ...values).flatMap(imagesOf));
    const repository = 'registry.test/team/webhook';
    assert.deepEqual(imagesWith(), new Set([`${repository}@sha256:${'b'.repeat(64)}`]));
    const own = `sha256:${'c'.repeat(64)}`;
    assert.deepEqual(imagesWith('--set', `images.digests.webhook=${own}`), new Set([`${repository}@${own}`]));
    assert.deepEqual(imagesWith('--set', 'images.tag=next'), new Set([`${repository}:next`]));
  });

  describe('a real API server', () => {
    let cluster: Cluster;
    before(async () => {
      makeLinks();
      cluster = await startCluster(folder, ['--allow-privileged=true']);
    });
    after(() => cluster.stop());

    it('accepts every object, and every pod under the pod security of its namespace', async () => {
      const objects = rendered(chart, ...all);
      const isFirst = ({ kind }: KubernetesObject): boolean =>
        kind === 'Namespace' || kind === 'CustomResourceDefinition';
      for (const object of objects.filter(isFirst)) await cluster.ask('POST', collectionOf(object), object);
      const query = '?dryRun=All&fieldValidation=Strict';
      for (const object of objects.filter((one) => !isFirst(one)))
        await cluster
          .ask('POST', `${collectionOf(object)}${query}`, object)
          .catch((error: unknown) => assert.fail(`${nameOf(object)}: ${String(error)}`));
      const templates = objects.flatMap((object) => {
        const found = object.spec?.template;
        return found === undefined ? [] : [{ object, found }];
      });
      assert.equal(templates.length, 4);
      for (const { object, found } of templates) {
        const { namespace = '' } = object.metadata;
        const metadata = { ...found.metadata, name: 'sample', namespace };
        const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: withoutClaims(found.spec) };
        await cluster
          .ask('POST', `/api/v1/namespaces/${namespace}/pods${query}`, pod)
          .catch((error: unknown) => assert.fail(`${nameOf(object)}: ${String(error)}`));
      }
    });

    it('refuses the pod of the installer where pod security is restricted', async () => {
      const installer = rendered(chart, ...only('node-installer')).find(({ kind }) => kind === 'DaemonSet');
      const pod = {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'sample' } },
        spec: installer?.spec?.template?.spec,
      };
      await assert.rejects(
        cluster.ask('POST', '/api/v1/namespaces/portcullis-trust/pods?dryRun=All', pod),
        /violates PodSecurity \\"restricted:latest/u,
      );
    });
  });
});

/** A pod alone has no claims of its StatefulSet. */
function withoutClaims(spec: PodSpec): object {
  const { volumes = [] } = spec as PodSpec & { readonly volumes?: readonly object[] };
  return { ...spec, volumes: [...volumes, { name: 'data', emptyDir: {} }] };
}

function imagesOf({ spec }: KubernetesObject): string[] {
  const pod = spec?.template?.spec;
  return [...(pod?.containers ?? []), ...(pod?.initContainers ?? [])].map(({ image }) => image);
}

function collectionOf({ apiVersion, kind, metadata: { namespace } }: KubernetesObject): string {
  const lower = kind.toLowerCase();
  const plural = lower.endsWith('y') ? `${lower.slice(0, -1)}ies` : `${lower}s`;
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return `${root}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`;
}

function leavesOf(
  schema: Schema,
  path: readonly string[] = [],
): { readonly path: readonly string[]; readonly schema: Schema }[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) =>
    inner.properties === undefined
      ? [{ path: [...path, name], schema: inner }]
      : leavesOf(inner, [...path, name]),
  );
}

const nested = (path: readonly string[], value: unknown): object =>
  path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as object;

/** Texts that a pattern of the schema asks for, by the end of the path. */
const texts: readonly (readonly [RegExp, unknown])[] = [
  [/^images\.registry$/u, 'other.example/path'],
  [/^images\.digests\./u, `sha256:${'1'.repeat(64)}`],
  [/\.certificateLifetime$/u, '30d'],
  [/\.storage\.size$/u, '77Gi'],
  [/\.(?:cpu|memory)$/u, '77'],
  [/\.realm$/u, 'https://other.example/token'],
  [/\.platforms$/u, ['linux/arm64']],
  [/Namespaces$|\.pullSecrets$/u, ['other']],
  [/\.tolerations$/u, [{ key: 'other', operator: 'Exists' }]],
  [/\.nodeSelector$/u, { other: 'label' }],
  [/\.clients$/u, [{ podSelector: { matchLabels: { other: 'label' } } }]],
];

/** Returns a valid value other than the default. */
function sampleOf(path: string, { type, enum: choices, minimum = 0 }: Schema): unknown {
  const text = texts.find(([pattern]) => pattern.test(path));
  if (path === 'createNamespaces') return false;
  if (text !== undefined) return text[1];
  if (choices !== undefined) return choices.at(-1) === 'silent' ? 'debug' : choices.at(-1);
  if (type === 'boolean') return path !== 'fleet.console';
  if (type === 'integer') return minimum + 1;
  return 'other';
}
