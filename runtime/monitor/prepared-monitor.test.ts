import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { endProcessesWithArgument, processesWithArgument } from '../processes/processes.ts';
import { prepareMonitor } from './prepared-monitor.ts';

it('a monitor whose pid cannot be read leaves no descriptor', { timeout: 60_000 }, async (t) => {
  const [reactor, kernel] = [await startReactor(), await startKernelWorker()];
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-prepared-'));
  t.after(async () => {
    await Promise.all([reactor.close(), kernel.close()]);
    rmSync(folder, { recursive: true });
  });
  const handler = { kind: 'crun', program: '/usr/bin/false', globalArgs: [] as readonly string[] };
  const open = (): number => readdirSync('/proc/self/fd').length;
  const attempt = async (name: string): Promise<void> => {
    const bundle = join(folder, name);
    mkdirSync(join(bundle, 'monitor.pid'), { recursive: true });
    const id = `${name}-${process.pid}`.padEnd(64, '0');
    await assert.rejects(
      prepareMonitor({
        ...{ startProgram: programStarter(reactor, kernel), conmon: '/usr/bin/conmon', id, bundle },
        ...{ handler: handler as unknown as RuntimeHandler, systemdCgroup: false, logPath: '' },
        ...{ terminal: false, stdin: false, stdinOnce: false, folders: { exits: folder, attach: folder } },
      }),
      { code: 'EISDIR' },
    );
    await endProcessesWithArgument(id);
  };
  await attempt('first');
  const before = open();
  for (const name of ['second', 'third', 'fourth']) await attempt(name);
  assert.equal(open(), before);
});

it(
  'a runtime that has not read its configuration yet ends with a killed daemon',
  { timeout: 60_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-prepared-'));
    const id = `killed-${process.pid}`.padEnd(64, '0');
    const program = join(folder, 'runtime');
    mkdirSync(join(folder, 'bundle'));
    writeFileSync(
      program,
      `#!/bin/sh\nuntil [ -e ${folder}/go ]; do sleep 0.05; done\nexec cat config.json\n`,
      {
        mode: 0o755,
      },
    );
    const fixture = fileURLToPath(new URL('prepared-monitor.fixture.ts', import.meta.url));
    const daemon = spawn(process.execPath, [fixture, folder, id, program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(async () => {
      daemon.kill('SIGKILL');
      await endProcessesWithArgument(id);
      rmSync(folder, { recursive: true });
    });
    await once(daemon.stdout, 'data');
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    const left = (): number => processesWithArgument(id).length;
    assert.ok(left() > 0);
    writeFileSync(join(folder, 'go'), '');
    for (let waited = 0; waited < 20_000 && left() > 0; waited += 50) await pause(50);
    assert.equal(left(), 0);
  },
);
