import assert from 'node:assert/strict';
import { test } from 'node:test';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { startMonitor } from './conmon.ts';
import type { MonitorInput } from './conmon.ts';

test('a monitor that cannot be started for want of descriptors leaves none open', async () => {
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
