import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { criCodec } from '../cri/contract/services.ts';
import { establish } from './establish.ts';
import type { EstablishDeps } from './establish.ts';
import type { SandboxRecord } from './record.ts';
import { planSandbox } from './validate.ts';

const configs = criCodec<PodSandboxConfig>('PodSandboxConfig');
const config = configs.decode(
  configs.encode({
    metadata: { name: 'pod', uid: 'u', namespace: 'shop' },
    linux: { securityContext: { namespaceOptions: { network: 2, ipc: 2, pid: 1 } } },
  }),
);

test('a pod that plugins approved, and that cannot be recorded as ready, is withdrawn before it is removed', async () => {
  const steps: string[] = [];
  const full = new Error('the disk is full');
  const deps = {
    records: {
      ...{ list: () => [], get: () => undefined },
      put: async ({ phase }: SandboxRecord) => {
        if (phase === 'ready') throw full;
      },
      delete: async () => void steps.push('deleted'),
    },
    effects: {
      ...{ newId: () => 'p1', now: () => '1', bootId: () => 'b' },
      cgroups: { place: () => '/pod', owned: () => [], remove: async () => undefined },
      namespaces: { claim: async () => undefined },
      files: { make: async () => undefined, remove: async () => undefined },
    },
    sharing: { isRequired: () => false, end: async () => undefined },
    approve: async () => async () => {
      await pause(1);
      steps.push('withdrawn');
    },
    log: createLogger({ level: 'silent' }),
  } as unknown as EstablishDeps;
  const request = { config, ofNode: [], plan: planSandbox(config), runtimeHandler: '', requestDigest: '' };
  await assert.rejects(establish(deps, request), full);
  assert.deepEqual(steps, ['withdrawn', 'deleted']);
});
