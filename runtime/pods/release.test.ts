import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { criCodec } from '../cri/contract/services.ts';
import type { SandboxRecord } from './record.ts';
import { removeSandbox } from './release.ts';
import type { StopDeps } from './release.ts';
import { planSandbox } from './validate.ts';

const configs = criCodec<PodSandboxConfig>('PodSandboxConfig');

test('a pod that this version would refuse, and a former one accepted, is removed with its network', async () => {
  const metadata = { name: 'pod', uid: 'u', namespace: 'shop' };
  const config = configs.decode(configs.encode({ metadata, hostname: 'not a host name' }));
  assert.throws(() => planSandbox(config), { code: 'RUNTIME_BAD_SANDBOX' });
  const steps: string[] = [];
  let record: SandboxRecord | undefined = {
    ...{ id: 'p1', name: '', phase: 'ready', config, requestDigest: '', runtimeHandler: '' },
    ...{ cgroupParent: '/pod', ownedCgroups: [], createdAt: '1' },
  };
  const deps = {
    records: {
      get: () => record,
      put: async (next: SandboxRecord) => void (record = next),
      delete: async () => void (record = undefined),
    },
    effects: {
      network: { detach: async (id: string) => void steps.push(`detached ${id}`) },
      cgroups: { remove: async () => undefined },
      files: { remove: async () => undefined },
    },
    containers: { stopAllOf: async () => undefined, removeAllOf: async () => undefined },
    sharing: { end: async () => undefined },
  } as unknown as StopDeps;
  await removeSandbox(deps, 'p1');
  assert.deepEqual([steps, record], [['detached p1'], undefined]);
});
