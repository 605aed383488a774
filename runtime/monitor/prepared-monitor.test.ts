import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { endProcessesWithArgument } from '../processes/processes.ts';
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
