import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { createCheckpointProbe } from './support.ts';

// An idle reactor does not keep the process alive, so the test does.
const hold = setInterval(() => undefined, 1_000);
const folder = mkdtempSync(join(tmpdir(), 'portcullis-criu-'));
const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
after(async () => {
  await Promise.all([reactor.close(), kernel.close()]);
  clearInterval(hold);
  rmSync(folder, { recursive: true });
});

test('a criu that does not work is reported with its last line, as one clause', async () => {
  const text =
    'echo "Warn  (criu/x.c:1): a warning" >&2; echo "Error (criu/crtools.c:260): No detection." >&2';
  writeFileSync(join(folder, 'criu'), `#!/bin/sh\n${text}\nexit 1\n`, { mode: 0o755 });
  const whyNot = createCheckpointProbe(programStarter(reactor, kernel), folder);
  assert.equal(
    await whyNot({ name: 'runc', kind: 'runc', version: '1.1.5' }),
    'criu does not work on this kernel: Error (criu/crtools.c:260): No detection',
  );
});
