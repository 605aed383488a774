import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import { writeArchive } from './archive.ts';
import { createBoundedFiles } from './bounded-files.ts';
import { openDestination } from './destination.ts';

describe('writeArchive', () => {
  let kernel: Kernel;
  let reactor: Reactor;
  let base = '';
  before(async () => {
    [kernel, reactor] = await Promise.all([startKernelWorker(), startReactor()]);
    base = mkdtempSync(join(tmpdir(), 'pc-archive-'));
  });
  after(async () => {
    rmSync(base, { recursive: true, force: true });
    await reactor.close();
    await kernel.close();
  });

  it('ends tar at once when a limit is exceeded', async () => {
    const [folder, archives, bin] = ['folder', 'archives', 'bin'].map((name) => join(base, name));
    assert.ok(folder !== undefined && archives !== undefined && bin !== undefined);
    for (const path of [folder, archives, bin, join(folder, 'work')]) mkdirSync(path, { mode: 0o700 });
    for (const name of ['stats-dump', 'dump.log']) writeFileSync(join(folder, 'work', name), 'x');
    // A tar that waits for a disk, and leaves a mark if it is not ended within the time for an undoing. It is
    // one process: a shell would continue when only its `sleep` is killed.
    const program = `#!/usr/bin/perl\nsleep 5; open(my $mark, '>', '${join(base, 'ran')}');\n`;
    writeFileSync(join(bin, 'tar'), program, { mode: 0o755 });
    const path = process.env['PATH'];
    process.env['PATH'] = `${bin}:${path}`;
    const destination = await openDestination(join(archives, 'a.tar'), [archives], {
      ...{ token: 'token', deadline: performance.now(), files: createBoundedFiles() },
    });
    const archive = await destination.create();
    try {
      await assert.rejects(
        writeArchive(
          {
            ...{ startProgram: programStarter(reactor, kernel), folder, destination, archive },
            ...{ blocks: '100', limit: () => Promise.resolve('late') },
          },
          (why) => new Error(why),
        ),
        /late/,
      );
    } finally {
      process.env['PATH'] = path;
      await archive.close();
      await destination.close();
    }
    assert.ok(!readdirSync(base).includes('ran'));
  });
});
