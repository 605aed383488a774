import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { criCodec } from '../../cri/contract/services.ts';
import type { PodSandboxConfig } from '../../cri/contract/contract.types.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import type { SandboxRecord } from '../record.ts';
import { openInfraProcesses } from './process.ts';

test('shims that do not start do not hold up the shims of other pods for long', async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), 'pc-infra-'));
  t.after(() => rmSync(stateDir, { recursive: true, force: true }));
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const asked: string[] = [];
  const shim = { pid: 2, startTime: '1', boot: '' };
  const handler = {
    kind: 'other',
    tasks: {
      startPod: (id: string) => {
        asked.push(id);
        return id === 'other' ? Promise.resolve(shim) : new Promise(() => undefined);
      },
    },
  } as unknown as RuntimeHandler;
  const infra = await openInfraProcesses({
    stateDir,
    handlers: new Map([['shim', handler]]),
    apparmorProfile: () => Promise.resolve(undefined),
    oomScoreFloor: 0,
  } as unknown as Parameters<typeof openInfraProcesses>[0]);
  const codec = criCodec<PodSandboxConfig>('PodSandboxConfig');
  const start = (id: string) => {
    const metadata = { name: id, uid: id, namespace: 'shop', attempt: 0 };
    const config = codec.decode(codec.encode({ metadata }));
    const record = { id, name: id, runtimeHandler: 'shim', cgroupParent: '/pods', namespacesDir: stateDir };
    return infra.start({ ...record, config } as SandboxRecord);
  };
  const hung = Array.from({ length: availableParallelism() }, (_, index) => `hung-${index}`);
  const failed = Promise.all(hung.map(start));
  const until = async (isDone: () => boolean): Promise<void> => {
    while (!isDone()) await Promise.race([turn(), failed]);
  };
  await until(() => asked.length === hung.length);
  const started = start('other');
  await Promise.race([turn(), started]);
  t.mock.timers.tick(10_000);
  assert.deepEqual(await started, shim);
});
