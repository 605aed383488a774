import '../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../base/log/index.ts';
import { hasServices } from '../cni-plugins/index.ts';
import type { NetworkEngine } from '../cni-plugins/index.ts';
import { openBalancing } from './balancing.ts';
import { loadDaemonConfig } from './config/load.ts';
import { hostPathsHere } from './host-paths/in-process.fixture.ts';

/** Answers as the thread of the engine does. */
const engineIn = (top: string): Pick<NetworkEngine, 'hasServices'> => ({
  hasServices: async (...given) => Promise.resolve(hasServices(join(top, 'root/network.db'), ...given)),
});

const service =
  'apiVersion: portcullis.dev/v1alpha1\nkind: Service\nmetadata: { name: web }\naddresses: [10.96.0.1]\nports: [80]\n';

test(
  'services whose folder could not be read at first are load-balanced after the next check',
  { timeout: 60_000 },
  async (t) => {
    const top = mkdtempSync(join(tmpdir(), 'portcullis-balancing-'));
    for (const name of ['root', 'state', 'services']) mkdirSync(join(top, name));
    writeFileSync(join(top, 'services/web.yaml'), service);
    writeFileSync(
      join(top, 'config.yaml'),
      `network: { services: { folder: "${join(top, 'services')}", backend: nftables } }\n`,
    );
    const config = await loadDaemonConfig({
      file: join(top, 'config.yaml'),
      flags: { root: [join(top, 'root')], state: [join(top, 'state')] },
    });
    const real = fsPromises.rm;
    const restore = (): void => {
      fsPromises.rm = real;
      syncBuiltinESMExports();
    };
    let failures = 0;
    fsPromises.rm = () => {
      failures += 1;
      restore();
      return Promise.reject(Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' }));
    };
    syncBuiltinESMExports();
    const balancing = openBalancing(config, engineIn(top), hostPathsHere, createLogger({ level: 'silent' }));
    t.after(async () => {
      restore();
      await balancing.close();
      rmSync(top, { recursive: true });
    });
    const count = async (): Promise<number> =>
      Object.values((await balancing.figures())?.services ?? {}).reduce((sum, each) => sum + each, 0);
    while ((await count()) === 0) await pause(100);
    assert.equal(failures, 1);
  },
);

test('a request after the stop is refused, and starts no thread', { timeout: 60_000 }, async (t) => {
  const top = mkdtempSync(join(tmpdir(), 'portcullis-balancing-'));
  t.after(() => rmSync(top, { recursive: true }));
  for (const name of ['root', 'state']) mkdirSync(join(top, name));
  writeFileSync(
    join(top, 'config.yaml'),
    `network: { services: { folder: "${join(top, 'none')}", backend: nftables } }\n`,
  );
  const config = await loadDaemonConfig({
    file: join(top, 'config.yaml'),
    flags: { root: [join(top, 'root')], state: [join(top, 'state')] },
  });
  const balancing = openBalancing(config, engineIn(top), hostPathsHere, createLogger({ level: 'silent' }));
  await balancing.close();
  await assert.rejects(balancing.ask({ do: 'list' }), { code: 'NETWORK_SERVICES_STOPPING' });
  assert.equal(await balancing.figures(), undefined);
});
