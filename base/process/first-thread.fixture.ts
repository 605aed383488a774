import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { processIdentity } from './index.ts';
import type { ProcessIdentity } from './index.ts';

/** exit(2), which ends only the calling thread. */
const exitThread = process.arch === 'arm64' ? 93 : 60;
const program = `import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).syscall(${exitThread}, 0)
`;

/** Starts a process whose first thread has ended, and whose other thread runs until the process is killed. */
export async function withoutFirstThread(): Promise<{
  readonly child: ChildProcess;
  readonly identity: ProcessIdentity;
  [Symbol.dispose](): void;
}> {
  const child = spawn('python3', ['-c', program], { stdio: 'ignore' });
  const identity = processIdentity(child.pid ?? 0);
  if (identity === undefined) throw new Error('the process has not started');
  for (
    let waited = 0;
    !/^State:\s*Z/m.test(readFileSync(`/proc/${identity.pid}/status`, 'utf8'));
    waited += 10
  ) {
    if (waited > 20_000) throw new Error('its first thread has not ended');
    await pause(10);
  }
  return { child, identity, [Symbol.dispose]: () => void child.kill('SIGKILL') };
}
