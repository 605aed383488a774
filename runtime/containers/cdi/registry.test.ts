import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startKernelWorker } from '../../../base/kernel/index.ts';
import type { Kernel } from '../../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../../base/reactor/index.ts';
import type { Reactor } from '../../../base/reactor/index.ts';
import { mountDeadServer, noDeadServer } from '../../../test/fixtures/dead-server.ts';
import { openHostPaths } from '../../host-paths/host-paths.ts';
import type { OpenHostPaths } from '../../host-paths/host-paths.ts';
import { qualifiedName } from './device-names.ts';
import { createCdiRegistry } from './registry.ts';

const specOf = (value: string): string =>
  JSON.stringify({
    cdiVersion: '0.5.0',
    kind: 'v/c',
    devices: [{ name: 'one', containerEdits: { env: [`A=${value}`] } }],
  });

describe('CDI devices in folders', () => {
  const hold = setInterval(() => undefined, 1_000);
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-cdi-'));
  let reactor: Reactor;
  let kernel: Kernel;
  let paths: OpenHostPaths;
  before(async () => {
    [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
    paths = await openHostPaths(programStarter(reactor, kernel), ['/']);
  });
  after(async () => {
    await paths.close();
    await Promise.all([reactor.close(), kernel.close()]);
    clearInterval(hold);
    rmSync(folder, { recursive: true });
  });
  const names = [qualifiedName('v/c=one')];

  it('are read again when their file changes, and disappear with it', async () => {
    const registry = createCdiRegistry([folder], paths);
    const file = join(folder, 'v.json');
    for (const value of ['first', 'the second']) {
      writeFileSync(file, specOf(value));
      assert.deepEqual(await registry.editsFor(names), [{ env: [`A=${value}`] }]);
    }
    rmSync(file);
    await assert.rejects(registry.editsFor(names), { code: 'RUNTIME_CDI_DEVICE_NOT_FOUND' });
  });

  it('count again when only root can change their folder, and not before', async () => {
    const registry = createCdiRegistry([folder], paths);
    const file = join(folder, 'v.json');
    writeFileSync(file, specOf('first'));
    const open = { code: 'RUNTIME_CDI_DEVICE_NOT_FOUND', message: /users other than root may write/ };
    chmodSync(folder, 0o777);
    await assert.rejects(registry.editsFor(names), open);
    chmodSync(folder, 0o755);
    assert.deepEqual(await registry.editsFor(names), [{ env: ['A=first'] }]);
    chmodSync(folder, 0o777);
    await assert.rejects(registry.editsFor(names), open);
    chmodSync(folder, 0o755);
    rmSync(file);
  });

  it('are read again after a failure that passes', async () => {
    let fails = true;
    const registry = createCdiRegistry([folder], {
      ...paths,
      ownFacts: (path) =>
        fails ? Promise.reject(Object.assign(new Error('EMFILE'), { code: 'EMFILE' })) : paths.ownFacts(path),
    });
    const file = join(folder, 'v.json');
    writeFileSync(file, specOf('first'));
    await assert.rejects(registry.editsFor(names), { code: 'RUNTIME_CDI_DEVICE_NOT_FOUND' });
    fails = false;
    assert.deepEqual(await registry.editsFor(names), [{ env: ['A=first'] }]);
    rmSync(file);
  });

  it(
    'behind a link to a dead file server delay only requests for a device',
    { timeout: 60_000, skip: noDeadServer },
    async () => {
      const server = mountDeadServer();
      try {
        symlinkSync(join(server.folder, 'v.yaml'), join(folder, 'v.yaml'));
        const registry = createCdiRegistry([folder], paths);
        const asked = Array.from({ length: 4 }, () =>
          assert.rejects(registry.editsFor(names), { code: 'RUNTIME_PATH_NO_ANSWER' }),
        );
        // As many as libuv's pool has threads; the whole process shares them.
        for (let times = 0; times < 8; times += 1) await readFile('/etc/hostname');
        await Promise.all(asked);
      } finally {
        rmSync(join(folder, 'v.yaml'), { force: true });
        server.close();
      }
    },
  );
});
