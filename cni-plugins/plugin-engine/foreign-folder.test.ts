import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { cniErrorOf } from '../spec/cni-error.ts';
import { inPrivateNetns } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { PluginFixture } from './plugin-engine.fixture.ts';

/** The folder of the upstream plugin host-local becomes unreadable while pods exist. */
if (inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  before(() => {
    fixture = createPluginFixture();
  });
  after(() => fixture.end());

  const unusable = (thrown: unknown): boolean => {
    assert.ok(isPortcullisError(thrown), String(thrown));
    assert.equal(thrown.code, 'NETWORK_STORE_UNUSABLE');
    assert.match(
      thrown.message,
      /host-local in \/\S+\/leases: its symbolic links form a loop/u,
      'the path of the configuration, and words',
    );
    assert.equal(cniErrorOf(thrown).code, 107);
    return true;
  };

  test('an unreadable folder of host-local fails ADD, and DEL and GC after our objects are removed', async () => {
    const dataDir = join(fixture.folder, 'leases');
    mkdirSync(dataDir);
    const conf = bridgeConf({ ipam: { type: 'host-local', subnet: '10.92.0.0/29', dataDir } });
    const [first, second, third] = ['first', 'second', 'third'].map((id) => ({ id, netns: fixture.pin(id) }));
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    await fixture.add([conf], first);
    await fixture.add([conf], second);
    rmSync(dataDir, { recursive: true });
    symlinkSync('leases', dataDir);
    await assert.rejects(fixture.add([conf], third), unusable);
    await assert.rejects(fixture.call('status', conf, { ...third, id: '' }), unusable);
    await assert.rejects(fixture.del([conf], first), unusable);
    assert.equal(fixture.inside(first.netns, 'ip link show eth0'), undefined);
    await assert.rejects(fixture.call('gc', conf, { ...second, id: '', name: '' }), unusable);
    assert.equal(fixture.inside(second.netns, 'ip link show eth0'), undefined);
    rmSync(dataDir);
    // Both addresses are free again.
    await fixture.del([conf], first);
    await fixture.del([conf], second);
    await fixture.add([conf], third);
    await fixture.del([conf], third);
  });

  test('a file of DNS settings that cannot be read is named as in the configuration', async () => {
    const pod = { id: 'dns', netns: fixture.pin('dns') };
    const resolvConf = join(fixture.folder, 'missing.conf');
    const conf = bridgeConf({ ipam: { type: 'host-local', subnet: '10.92.0.0/29', resolvConf } });
    await assert.rejects(fixture.add([conf], pod), /missing\.conf: it does not exist/u);
  });
}
