import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { DaemonConfig } from '../config/types.ts';
import { openHandlers } from './open-handlers.ts';

// An idle reactor does not keep the process alive, so the test does.
const hold = setInterval(() => undefined, 1_000);
const folder = mkdtempSync(join(tmpdir(), 'portcullis-handlers-'));
const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
after(async () => {
  await Promise.all([reactor.close(), kernel.close()]);
  clearInterval(hold);
  rmSync(folder, { recursive: true });
});

/** Writes a program that reports a version. */
function program(place: string, name: string, version: string): string {
  mkdirSync(join(folder, place), { recursive: true });
  const path = join(folder, place, name);
  writeFileSync(path, `#!/bin/sh\necho "${name} version ${version}"\n`, { mode: 0o755 });
  return path;
}

test('strict refuses a shim whose OCI runtime has open vulnerabilities', async (t) => {
  const path = program('bin', 'containerd-shim-runc-v2', '2.4.2');
  const [old, fixed] = [program('old', 'runc', '1.1.5'), program('fixed', 'runc', '1.5.2')];
  const inPath = process.env['PATH'];
  process.env['PATH'] = join(folder, 'old');
  t.after(() => (process.env['PATH'] = inPath));
  const missing = join(folder, 'missing');
  const runtimes = {
    main: { path: fixed },
    fixed: { type: 'shim', path, runtimePath: fixed },
    old: { type: 'shim', path, runtimePath: old },
    'from PATH': { type: 'shim', path },
    missing: { type: 'shim', path, runtimePath: missing },
  } as const;
  const open = async (strict: boolean): Promise<readonly string[]> => {
    const config = { runtimes, defaultRuntime: 'main', state: folder, strict } as unknown as DaemonConfig;
    const stateDir = join(folder, `state-${strict}`);
    const log = createLogger({ level: 'silent' });
    return [...(await openHandlers(config, programStarter(reactor, kernel), stateDir, log)).keys()];
  };
  assert.deepEqual(await open(false), [...Object.keys(runtimes), '']);
  assert.deepEqual(await open(true), ['main', 'fixed', '']);
});
