import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { CallContext } from '../cri/handlers.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { createResourceHandlers } from './resource-handlers.ts';

const context = {} as CallContext;
const { handlers } = createResourceHandlers({
  resources: { update: () => Promise.reject(new Error('unused')) },
  sandboxes: { require: (id) => ({ id }) as SandboxRecord },
  containers: { require: () => assert.fail('unused') },
  checkpoints: undefined,
  reportPodCidrs: () => Promise.resolve(),
  log: createLogger({ level: 'silent' }),
});

test('checkpoints of pods are refused with the reason, and so are restores', async () => {
  const refused = { code: 'RUNTIME_NO_CHECKPOINTS', kind: 'precondition', message: /rights/ };
  const pod = { podSandboxId: 'p', outputPath: '/x', containerIds: ['c'], options: {} };
  await assert.rejects(handlers.checkpointPod(pod, context), refused);
  const restore = { checkpointPath: '/x', runtimeHandler: '', options: {}, containerConfigs: [] };
  await assert.rejects(handlers.restorePod(restore, context), refused);
});
