import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { customResourceDefinitions } from '../../admission/index.ts';
import { parseDocuments } from '../../base/schema/index.ts';
import { shippedFiles, shippedObjects } from '../../test/webhook/test-cluster.ts';

const folder = join(import.meta.dirname, 'webhook');

test('the definitions are current, and every file is part of the base', () => {
  const text = readFileSync(join(folder, 'definitions.yaml'), 'utf8');
  const written = parseDocuments(text, 'definitions.yaml').documents.map(({ value }) => value);
  assert.deepEqual(
    written,
    JSON.parse(JSON.stringify(customResourceDefinitions())),
    'run: portcullis webhook definitions > packaging/kubernetes/webhook/definitions.yaml',
  );
  const [kustomization] = parseDocuments(
    readFileSync(join(folder, 'kustomization.yaml'), 'utf8'),
    'k',
  ).documents;
  const { resources } = kustomization?.value as { resources: readonly string[] };
  assert.deepEqual([...resources].sort(), [...shippedFiles()].sort());
});

test('both webhooks fail closed, exclude their own namespace, and review every kind of workload', () => {
  const configurations = shippedObjects().filter(({ kind }) => kind.endsWith('WebhookConfiguration'));
  assert.equal(configurations.length, 2);
  for (const { webhooks } of configurations as unknown as { webhooks: Record<string, unknown>[] }[])
    for (const webhook of webhooks) {
      assert.equal(webhook['failurePolicy'], 'Fail');
      assert.equal(webhook['sideEffects'], 'None');
      assert.match(JSON.stringify(webhook['namespaceSelector']), /NotIn.*portcullis-webhook/);
      const resources = (webhook['rules'] as { resources: string[] }[]).flatMap((rule) => rule.resources);
      assert.deepEqual(resources, [
        ...['pods', 'pods/ephemeralcontainers', 'podtemplates', 'replicationcontrollers'],
        ...['deployments', 'replicasets', 'statefulsets', 'daemonsets', 'jobs', 'cronjobs'],
      ]);
    }
});
