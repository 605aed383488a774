import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import type { DeadServer } from '../../test/fixtures/dead-server.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { cniErrorOf } from '../spec/cni-error.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Of, PluginFixture } from './plugin-engine.fixture.ts';

/** Paths of calls and of recorded attachments on a file system whose server does not answer. */
if (noDeadServer === false && inPrivateNetns(import.meta.filename)) {
  let fixture: PluginFixture;
  const servers: DeadServer[] = [];
  const dead = (over?: string): DeadServer => {
    const server = mountDeadServer(over);
    servers.push(server);
    return server;
  };
  const conf = bridgeConf({ ipam: { type: 'host-local', subnet: '10.92.0.0/24' } });
  const pod = (id: string): Of => ({ id, netns: fixture.pin(id) });

  before(() => {
    fixture = createPluginFixture();
  });
  after(async () => {
    for (const server of servers) server.close();
    await fixture.end();
  });

  const noAnswer = (thrown: unknown): boolean => {
    assert.ok(isPortcullisError(thrown), String(thrown));
    assert.equal(thrown.code, 'NETWORK_PATH_NO_ANSWER');
    assert.equal(cniErrorOf(thrown).code, 11, 'try again later');
    return true;
  };

  /** Other pods come and go while the call waits. */
  const withOthers = async (waiting: Promise<unknown>): Promise<void> => {
    const settled = Promise.allSettled([waiting]);
    const started = performance.now();
    const other = pod(`other-${Math.random().toString(36).slice(2, 10)}`);
    const result = await fixture.add([conf], other);
    await fixture.check([conf], other, result);
    await fixture.del([conf], other);
    assert.ok(performance.now() - started < 4_000, 'the others did not wait');
    await settled;
  };

  test('a namespace that does not answer fails its own call, and no other pod waits', async () => {
    const { folder } = dead();
    const linked = join(fixture.folder, 'linked');
    symlinkSync(folder, linked);
    for (const netns of [join(folder, 'one'), join(linked, 'one')]) {
      const call = fixture.call('add', conf, { id: 'one', netns });
      await withOthers(call);
      await assert.rejects(call, noAnswer);
    }
    // Nothing was added, so there is nothing to open.
    await fixture.del([conf], { id: 'one', netns: join(folder, 'one') });
    assert.doesNotMatch(shell('ip -br link'), /veth/u, 'nothing is left');
  });

  test('the folder of a store and a file of DNS settings that do not answer fail ADD and STATUS', async () => {
    const { folder } = dead();
    const ipams = [
      { type: 'host-local', subnet: '10.92.0.0/24', dataDir: join(folder, 'leases') },
      { type: 'host-local', subnet: '10.92.0.0/24', resolvConf: join(folder, 'resolv.conf') },
    ];
    for (const ipam of ipams) {
      const call = fixture.call('add', bridgeConf({ ipam }), pod(`dns-${Object.keys(ipam).at(-1)}`));
      await withOthers(call);
      await assert.rejects(call, noAnswer);
    }
    const status = fixture.call('status', bridgeConf({ ipam: ipams[0] }), { id: '', netns: '' });
    await withOthers(status);
    await assert.rejects(status, noAnswer);
  });

  test('DEL removes our objects although the folder of the store does not answer, and reports it', async () => {
    const dataDir = join(fixture.folder, 'leases');
    mkdirSync(dataDir);
    const own = bridgeConf({ ipam: { type: 'host-local', subnet: '10.92.0.0/24', dataDir } });
    const one = pod('stored');
    await fixture.add([own], one);
    const server = dead(dataDir);
    await assert.rejects(fixture.del([own], one), noAnswer);
    assert.equal(fixture.inside(one.netns, 'ip link show eth0'), undefined);
    server.close();
    await fixture.del([own], one);
  });

  test('a recorded namespace that does not answer delays no other call, and is removed later', async () => {
    const folder = join(fixture.folder, 'pins');
    mkdirSync(folder);
    const netns = join(folder, 'kept');
    shell(`touch ${netns} && unshare --net=${netns} true`);
    const one = { id: 'kept', netns };
    await fixture.add([conf], one);
    const server = dead(folder);
    const started = performance.now();
    await fixture.call('status', conf, { id: '', netns: '' });
    const other = pod('beside');
    await fixture.add([conf], other);
    await fixture.del([conf], other);
    assert.ok(performance.now() - started < 4_000, 'neither repair nor others waited');
    await assert.rejects(fixture.del([conf], one), noAnswer);
    server.close();
    await fixture.del([conf], one);
    assert.doesNotMatch(shell('ip -br link'), /veth/u);
    shell(`umount ${netns}`);
  });
}
