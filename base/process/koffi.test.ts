import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'node:test';
import type Koffi from 'koffi';
import { koffi } from './koffi.ts';
import type { NativeCalls } from './koffi.ts';

/** Compiles if the interface describes a part of koffi. koffi's own type is wider for `call`. */
const partOf = (all: typeof Koffi): Omit<NativeCalls, 'call'> => all;

it('the native calls are a part of koffi', () => {
  assert.equal(typeof partOf(koffi() as typeof Koffi).errno(), 'number');
});

it('a Worker that is terminated while it loads native code does not abort the process', () => {
  const { status, signal, stderr } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'koffi.fixture.ts')],
    {
      encoding: 'utf8',
    },
  );
  assert.deepEqual({ status, signal }, { status: 0, signal: null }, stderr);
});

it('a process that ends waits for native code that a Worker runs slowly', () => {
  const program = `
    import { once } from 'node:events';
    import { startWorker } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
    await once(startWorker(${JSON.stringify(import.meta.url)}, './slow-native.worker.fixture.ts'), 'message');
    process.exit(4);`;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.deepEqual({ status, stdout }, { status: 4, stdout: 'finished\n' });
});
