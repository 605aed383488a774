import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { readFileSync } from 'node:fs';
import { readInCluster } from './in-cluster.ts';

test('a pod reads the address, the authority and the token that its kubelet renews', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-in-cluster-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
  await assert.rejects(readInCluster({ folder, environment: {} }), /KUBERNETES_SERVICE_HOST/);
  await assert.rejects(
    readInCluster({ folder, environment }),
    /token.*does not exist.*KUBERNETES_NOT_IN_CLUSTER/s,
  );
  writeFileSync(join(folder, 'token'), 'first\n');
  writeFileSync(join(folder, 'ca.crt'), 'nothing');
  await assert.rejects(readInCluster({ folder, environment }), /no readable certificate/);
  const { certificate } = makeCertificate(folder, 'ca');
  writeFileSync(join(folder, 'ca.crt'), readFileSync(certificate));
  const first = await readInCluster({ folder, environment });
  assert.equal(first.server.href, 'https://[fd00::1]:6443/');
  assert.equal(first.authorization, 'Bearer first');
  writeFileSync(join(folder, 'token'), 'second');
  const second = await readInCluster({ folder, environment });
  assert.notEqual(second.id, first.id);
  writeFileSync(join(folder, 'token'), 'se\ncret');
  await assert.rejects(
    readInCluster({ folder, environment }),
    (error: Error) => !error.message.includes('cret'),
  );
});
