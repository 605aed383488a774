import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { CallContext } from '../cri/handlers.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { createResourceHandlers } from './resource-handlers.ts';

const context = {} as CallContext;
const { handlers } = createResourceHandlers({
  resources: { update: () => Promise.reject(new Error('unused')) },
  sandboxes: { require: (id) => ({ id }) as SandboxRecord },
  containers: { require: (id) => ({ id }) as ContainerRecord },
  checkpoints: undefined,
  reportPodCidrs: () => Promise.resolve(),
  log: createLogger({ level: 'silent' }),
});

test('checkpoints of pods are refused with the reason, and so are restores', async () => {
  const refused = { code: 'RUNTIME_NO_CHECKPOINTS', kind: 'unimplemented', message: /rights/ };
  const pod = { podSandboxId: 'p', outputPath: '/x', containerIds: ['c'], options: {} };
  await assert.rejects(handlers.checkpointPod(pod, context), refused);
  const restore = { checkpointPath: '/x', runtimeHandler: '', options: {}, containerConfigs: [] };
  await assert.rejects(handlers.restorePod(restore, context), refused);
});

test('a disabled checkpoint is refused as a call that the daemon does not have, with the reason', async () => {
  const call = { containerId: 'c', location: '/x', timeout: 0 };
  await assert.rejects(handlers.checkpointContainer(call, context), {
    code: 'RUNTIME_CHECKPOINTS_DISABLED',
    kind: 'unimplemented',
    message: /^unknown method CheckpointContainer: .*`checkpoint.enabled` is false/u,
  });
});
