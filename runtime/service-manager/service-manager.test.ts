import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { openServiceManager, watchdogPeriodMs } from './service-manager.ts';

/**
 * Binds the address as systemd does and prints each datagram as a JSON line, because Node has no unix
 * datagrams.
 */
const listener = `import json,socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(sys.argv[1].replace('@','\\0',1)); print('"bound"',flush=True)
while True: print(json.dumps(s.recv(65536).decode()),flush=True)`;

async function listen(t: TestContext, address: string): Promise<AsyncIterator<string>> {
  const child: ChildProcess = spawn('python3', ['-c', listener, address], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  assert.ok(child.stdout);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, '"bound"');
  return {
    next: async () => {
      const { value, done } = await lines.next();
      return done === true ? { value: undefined, done } : { value: JSON.parse(value) as string };
    },
  };
}

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pc-notify-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const log = { warn: () => undefined };
const well = () => Promise.resolve({ healthy: true, checks: { database: 'ok' } });

describe('the service manager is notified', () => {
  for (const [kind, addressIn] of [
    ['a path', (folder: string) => join(folder, 'notify')],
    ['an abstract name', (folder: string) => `@${folder}`],
  ] as const) {
    it(`by ${kind}: ready, the watchdog in time, stopping`, async (t) => {
      const address = addressIn(temporary(t));
      const heard = await listen(t, address);
      const environment = { NOTIFY_SOCKET: address, WATCHDOG_USEC: '100000', WATCHDOG_PID: '17' };
      const manager = openServiceManager({ environment, pid: 17, healthy: well, log });
      manager.ready();
      assert.equal((await heard.next()).value, 'READY=1\nSTATUS=serving CRI v1\nMAINPID=17');
      // The timer of an idle daemon does not keep the process alive, so this test does.
      const alive = setInterval(() => undefined, 1000);
      assert.equal((await heard.next()).value, 'WATCHDOG=1');
      assert.equal((await heard.next()).value, 'WATCHDOG=1');
      manager.stopping();
      clearInterval(alive);
      let last: string | undefined;
      while (last?.startsWith('STOPPING=1\n') !== true) last = (await heard.next()).value as string;
    });
  }

  it('not for the watchdog, by a daemon whose parts do not answer', async (t) => {
    const address = join(temporary(t), 'notify');
    const heard = await listen(t, address);
    const healthy = () =>
      Promise.resolve({ healthy: false, checks: { database: 'no answer\nwithin 2000 ms', mounts: 'ok' } });
    const manager = openServiceManager({
      environment: { NOTIFY_SOCKET: address, WATCHDOG_USEC: '50000' },
      pid: 1,
      healthy,
      log,
    });
    const alive = setInterval(() => undefined, 1000);
    manager.ready();
    await heard.next();
    for (let times = 0; times < 3; times += 1)
      assert.equal((await heard.next()).value, 'STATUS=not healthy: database (no answer within 2000 ms)');
    manager.stopping();
    clearInterval(alive);
  });

  it('not if there is no service manager, and logs a warning if it is gone', () => {
    const warned: unknown[] = [];
    const open = (NOTIFY_SOCKET?: string) =>
      openServiceManager({
        environment: { NOTIFY_SOCKET },
        pid: 1,
        healthy: well,
        log: { warn: (...said: unknown[]) => warned.push(said) },
      });
    open().ready();
    open('vsock:2:1').ready();
    assert.equal(warned.length, 0);
    open('/nonexistent/notify').ready();
    assert.equal(warned.length, 1);
  });
});

for (const [what, environment, expected] of [
  ['none set', {}, undefined],
  ['microseconds', { WATCHDOG_USEC: '30000000' }, 30_000],
  ['for this process', { WATCHDOG_USEC: '1000', WATCHDOG_PID: '7' }, 1],
  ['for another process', { WATCHDOG_USEC: '1000', WATCHDOG_PID: '8' }, undefined],
  ['no number', { WATCHDOG_USEC: 'soon' }, undefined],
  ['zero', { WATCHDOG_USEC: '0' }, undefined],
] as const) {
  it(`the watchdog's period: ${what}`, () => assert.equal(watchdogPeriodMs(environment, 7), expected));
}
