import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { processIdentity } from '../../base/process/index.ts';
import { signalReception } from './signal-reception.ts';
import type { SignalReception } from './signal-reception.ts';

const [SIGKILL, SIGTERM] = [9, 15];

for (const [what, program, expected] of [
  ['with a handler receives the signal', 'signal.signal(signal.SIGTERM, print)', 'received'],
  [
    'that waits for signals receives the signal',
    'signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); signal.sigwait([signal.SIGTERM])',
    'received',
  ],
  [
    'that reads blocked signals otherwise gets the signal later',
    'signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])',
    'blocked',
  ],
  ['without a handler does not receive the signal', '', 'dropped'],
] as const satisfies readonly (readonly [string, string, SignalReception])[]) {
  test(`a process ${what}`, async () => {
    const child = spawn('python3', ['-c', `import signal, time\n${program}\ntime.sleep(600)`], {
      stdio: 'ignore',
    });
    try {
      await once(child, 'spawn');
      const identity = processIdentity(child.pid ?? 0);
      for (let waited = 0; signalReception(identity, SIGTERM) !== expected || waited < 1_000; waited += 20) {
        assert.ok(waited < 30_000, signalReception(identity, SIGTERM));
        await pause(20);
      }
      assert.equal(signalReception(identity, SIGKILL), 'received');
    } finally {
      child.kill('SIGKILL');
    }
  });
}

test('a process that has ended receives no signal', () =>
  assert.equal(signalReception(undefined, SIGTERM), 'dropped'));
