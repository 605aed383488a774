import assert from 'node:assert/strict';
import { test } from 'node:test';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { kernelError } from '../../base/kernel/index.ts';
import { startMonitor } from './conmon.ts';
import type { MonitorInput } from './conmon.ts';

const input: MonitorInput = {
  startProgram: () => Promise.reject(new Error('not reached')),
  conmon: '/usr/bin/conmon',
  handler: { program: '/usr/bin/crun', globalArgs: [] as readonly string[] } as MonitorInput['handler'],
  id: 'a'.repeat(64),
  bundle: '/tmp',
  folders: { exits: '/tmp', attach: '/tmp' },
  logPath: '',
  terminal: false,
  stdin: false,
  stdinOnce: false,
  systemdCgroup: false,
};

test('a monitor that cannot be started for want of processes is no reason to install one', async () => {
  const startProgram = (): Promise<never> => Promise.reject(kernelError('EAGAIN', 'posix_spawn', '/usr/bin/conmon'));
  await assert.rejects(startMonitor({ ...input, startProgram }), { code: 'RUNTIME_MONITOR_FAILED', kind: 'exhausted' });
  await assert.rejects(startMonitor(input), { code: 'RUNTIME_MONITOR_FAILED', kind: 'internal' });
});

test('a monitor that cannot be started for want of descriptors leaves none open', async () => {
  const descriptors = holdDescriptors();
  try {
    for (const count of [0, 1, 2, 3]) {
      descriptors.fill();
      descriptors.free(count);
      await assert.rejects(startMonitor(input), { code: 'KERNEL_EMFILE' });
      assert.equal(descriptors.room(), count, `of ${count} descriptors`);
    }
  } finally {
    descriptors.release();
  }
});
