import assert from 'node:assert/strict';
import { readFileSync, readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Ajv } from 'ajv';
import manifest from '../../package.json' with { type: 'json' };
import { parseDocuments } from '../../base/schema/index.ts';
import { images } from '../oci/images.ts';
import { bases, exampleRegistry } from '../release/cluster-files.ts';

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly readinessProbe?: object;
  readonly livenessProbe?: object;
  readonly ports?: readonly { readonly containerPort: number }[];
  readonly resources: Readonly<Record<'requests' | 'limits', Readonly<Record<string, string>>>>;
  readonly securityContext: Readonly<Record<string, unknown>>;
}
interface KubernetesObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: object;
  readonly roleRef?: { readonly name: string };
  readonly rules?: readonly { readonly verbs?: readonly string[]; readonly resources: readonly string[] }[];
  readonly spec?: {
    readonly template?: {
      readonly spec: { readonly containers: Container[]; readonly initContainers?: Container[] };
    };
  };
}

const read = (path: string): readonly unknown[] =>
  parseDocuments(readFileSync(join(import.meta.dirname, path), 'utf8'), path).documents.map(
    ({ value }) => value,
  );
const objectsOf = (base: string): readonly KubernetesObject[] =>
  readdirSync(join(import.meta.dirname, base))
    .filter((name) => name !== 'kustomization.yaml')
    .flatMap((name) => read(join(base, name)) as readonly KubernetesObject[]);

for (const base of bases)
  describe(`the kustomize base ${base}`, () => {
    const objects = objectsOf(base);
    const pods = objects.flatMap(({ spec }) => spec?.template?.spec ?? []);
    const containers = pods.flatMap((pod) => [...pod.containers, ...(pod.initContainers ?? [])]);
    const kinds = new Set(objects.map(({ kind }) => kind));

    it('lists each of its files', () => {
      const [{ resources }] = read(join(base, 'kustomization.yaml')) as [{ resources: string[] }];
      const files = readdirSync(join(import.meta.dirname, base)).filter(
        (name) => name !== 'kustomization.yaml',
      );
      assert.deepEqual([...resources].sort(), files.sort());
    });

    it('names its image at this version, and its port', () => {
      assert.ok(containers.length > 0);
      for (const { image, ports } of containers) {
        assert.equal(image, `${exampleRegistry}/${base}:${manifest.version}`);
        if (ports !== undefined)
          assert.deepEqual(
            ports.map(({ containerPort }) => containerPort),
            [images[base]?.port],
          );
      }
    });

    it('requests and limits processors and memory, and has a read-only root', () => {
      for (const { resources, securityContext } of containers) {
        assert.deepEqual(Object.keys(resources.requests), ['cpu', 'memory']);
        assert.deepEqual(Object.keys(resources.limits), ['cpu', 'memory']);
        assert.equal(securityContext['readOnlyRootFilesystem'], true);
      }
    });

    it('has probes and a disruption budget if it serves requests', () => {
      for (const { ports, readinessProbe, livenessProbe } of containers)
        if (ports !== undefined) {
          assert.ok(readinessProbe !== undefined && livenessProbe !== undefined);
          assert.ok(kinds.has('PodDisruptionBudget'));
        }
    });

    it('restricts the network of its pods', () => {
      assert.ok(kinds.has('NetworkPolicy'));
    });

    it('contains no secret, and has no right for all resources or verbs', () => {
      for (const { kind, data, roleRef, rules = [] } of objects) {
        if (kind === 'Secret') assert.equal(data, undefined);
        assert.notEqual(roleRef?.name, 'cluster-admin');
        for (const { resources, verbs } of rules)
          assert.ok(!resources.includes('*') && verbs?.includes('*') !== true);
      }
    });
  });

describe('the Helm chart', () => {
  const [values] = read('chart/values.yaml');
  const schema = JSON.parse(
    readFileSync(join(import.meta.dirname, 'chart/values.schema.json'), 'utf8'),
  ) as object;

  it('has the version of the product, and the definitions of the webhook', () => {
    const [chart] = read('chart/Chart.yaml') as [{ version: string; appVersion: string }];
    assert.deepEqual([chart.version, chart.appVersion], [manifest.version, manifest.version]);
    assert.equal(
      realpathSync(join(import.meta.dirname, 'chart/crds/definitions.yaml')),
      join(import.meta.dirname, 'webhook/definitions.yaml'),
    );
  });

  it('has default values that its schema allows', () => {
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema);
    assert.ok(validate(values), JSON.stringify(validate.errors));
  });

  it('has a schema that refuses values with which the webhook does not start', () => {
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema);
    const { webhook } = values as { readonly webhook: object };
    const isAllowed = (changed: object): boolean =>
      validate({ ...(values as object), webhook: { ...webhook, ...changed } });
    for (const platforms of [['all', 'linux/arm64'], ['all', 'all'], ['linux']])
      assert.ok(!isAllowed({ platforms }), platforms.join());
    for (const platforms of [['all'], ['linux/amd64', 'linux/arm64']])
      assert.ok(isAllowed({ platforms }), platforms.join());
    for (const certificateLifetime of ['0d', '59s', '30', '40000d'])
      assert.ok(!isAllowed({ certificateLifetime }), certificateLifetime);
    for (const certificateLifetime of ['60s', '10m', '24h', '90d'])
      assert.ok(isAllowed({ certificateLifetime }), certificateLifetime);
  });

  it('has a schema that refuses a volume without space, which the API server would refuse after other objects exist', () => {
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema);
    const { fleet } = values as { readonly fleet: { readonly storage: object } };
    for (const [size, allowed] of Object.entries({
      '0Gi': false,
      '00Mi': false,
      '1Ti': true,
      '20Gi': true,
    })) {
      const storage = { ...fleet.storage, size };
      assert.equal(validate({ ...(values as object), fleet: { ...fleet, storage } }), allowed, size);
    }
  });

  it('has a default for every property of the schema', () => {
    assert.deepEqual(namesOf(schema), namesOfValues(values));
  });
});

/** Returns the paths of all properties that the schema lists, sorted. */
function namesOf(schema: object, path = ''): string[] {
  const { properties } = schema as { readonly properties?: Readonly<Record<string, object>> };
  if (properties === undefined) return [path];
  return Object.entries(properties)
    .flatMap(([name, inner]) => namesOf(inner, `${path}/${name}`))
    .sort();
}

function namesOfValues(value: unknown, path = ''): string[] {
  const isSection =
    typeof value === 'object' && value !== null && !Array.isArray(value) && !path.endsWith('/nodeSelector');
  if (!isSection) return [path];
  return Object.entries(value)
    .flatMap(([name, inner]) => namesOfValues(inner, `${path}/${name}`))
    .sort();
}
