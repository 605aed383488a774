import assert from 'node:assert/strict';
import { test } from 'node:test';
import { criCodec } from '../cri/contract/services.ts';
import type { ContainerConfig, ListContainersResponse } from '../cri/contract/contract.types.ts';
import { checkPidTarget } from './pid-target.ts';
import type { ProxyContainer } from './records.ts';

const configs = criCodec<ContainerConfig>('ContainerConfig');
const answers = criCodec<ListContainersResponse>('ListContainersResponse');

const targeting = (targetId: string): ContainerConfig =>
  configs.decode(configs.encode({ linux: { securityContext: { namespaceOptions: { pid: 3, targetId } } } }));

test('a container can join only the PID namespace of a container of its own pod', async () => {
  const recorded: Partial<ProxyContainer> = { id: 'other', sandboxId: 'pod-2' };
  const containers = {
    get: (id: string) => (id === 'other' ? (recorded as ProxyContainer) : undefined),
  };
  const held = [
    { id: 'old', podSandboxId: 'pod-1' },
    { id: 'old-other', podSandboxId: 'pod-2' },
  ];
  const call = { ask: () => Promise.resolve(answers.encode({ containers: held })) };
  await checkPidTarget(containers, call, targeting('old'), 'pod-1');
  await checkPidTarget(containers, call, configs.decode(configs.encode({})), 'pod-1');
  for (const target of ['other', 'old-other', 'none', 'ol', ''])
    await assert.rejects(checkPidTarget(containers, call, targeting(target), 'pod-1'), {
      code: 'RUNTIME_BAD_TARGET',
    });
});
