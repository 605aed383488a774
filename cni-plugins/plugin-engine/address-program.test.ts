import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, inPrivateNetns } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Conf, PluginFixture } from './plugin-engine.fixture.ts';

/**
 * A third-party IPAM plugin that waits for a file before it answers an ADD, and records its calls. By the
 * name of the container it writes one line more than the limit, or leaves a child that outlives it and keeps
 * its output open.
 */
const program = (folder: string): string => `#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID" >> ${folder}/asked
case "$CNI_COMMAND $CNI_CONTAINERID" in
  "ADD loud") head -c 3000000 /dev/zero | tr '\\0' 'x'; sleep 60 ;;
  "ADD orphan") sleep 5 & ;;
  "ADD quick"*) ;;
  ADD*) while [ ! -e ${folder}/answer ]; do sleep 0.02; done ;;
esac
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.0.0","ips":[{"address":"10.91.0.'$(wc -l < ${folder}/asked)'/24"}],"dns":{}}'
`;

interface Slow {
  readonly conf: Conf;
  readonly path: readonly string[];
  asked(): string[];
  answer(): void;
}

function slowPlugin({ folder }: PluginFixture): Slow {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'slow'), program(folder), { mode: 0o755 });
  const asked = join(folder, 'asked');
  return {
    conf: bridgeConf({ bridge: 'br1', ipam: { type: 'slow' } }),
    path: [bin],
    asked: () => (existsSync(asked) ? readFileSync(asked, 'utf8').trim().split('\n') : []),
    answer: () => writeFileSync(join(folder, 'answer'), ''),
  };
}

if (inPrivateNetns(import.meta.filename, 180_000)) {
  test('while a third-party address plugin keeps one pod waiting, other pods are attached', async () => {
    const fixture = createPluginFixture();
    const { conf, path, asked, answer } = slowPlugin(fixture);
    const of = { id: 'waits', netns: fixture.pin('waits') };
    let done = false;
    const waits = fixture.call('add', conf, of, { path }).finally(() => (done = true));
    await eventually(() => asked().includes('ADD waits') || undefined, 30_000);
    const other = { id: 'other', netns: fixture.pin('other') };
    await fixture.add([bridgeConf()], other);
    // Another pod of the same network.
    const quick = await fixture.call('add', conf, { id: 'quick', netns: fixture.pin('quick') }, { path });
    assert.equal(quick?.ips.length, 1);
    assert.equal(done, false);
    answer();
    assert.equal((await waits)?.ips.length, 1);
    await fixture.del([bridgeConf()], other);
    await fixture.end();
  });

  test('two calls for one attachment are served one after the other, and GC waits for both', async () => {
    const fixture = createPluginFixture();
    const { conf, path, asked, answer } = slowPlugin(fixture);
    const of = { id: 'twice', netns: fixture.pin('twice') };
    const [first, second] = [
      fixture.call('add', conf, of, { path }),
      fixture.call('add', conf, of, { path }),
    ];
    const refused = assert.rejects(second, { code: 'NETWORK_ALREADY_ATTACHED' });
    const gc = fixture.call(
      'gc',
      conf,
      { ...of, id: '' },
      { path, valid: [{ containerId: 'twice', interface: 'eth0' }] },
    );
    await eventually(() => asked().length === 1 || undefined, 30_000);
    answer();
    const result = await first;
    await Promise.all([refused, gc]);
    // The second call requested nothing, so nothing of the first one was released because of it.
    assert.deepEqual(asked(), ['ADD twice', 'GC']);
    assert.ok(result !== undefined);
    await fixture.call('check', conf, of, { path, prevResult: result });
    await fixture.call('del', conf, of, { path });
    assert.deepEqual(asked().slice(2), ['CHECK twice', 'DEL twice']);
    await fixture.end();
  });

  test('a program with endless output is killed; a program that leaves a child process behind is not waited for', async () => {
    const fixture = createPluginFixture();
    const { conf, path, asked } = slowPlugin(fixture);
    const loud = { id: 'loud', netns: fixture.pin('loud') };
    await assert.rejects(fixture.call('add', conf, loud, { path }), { code: 'NETWORK_IPAM_FAILED' });
    assert.deepEqual(asked(), ['ADD loud']);
    const orphan = { id: 'orphan', netns: fixture.pin('orphan') };
    assert.equal((await fixture.call('add', conf, orphan, { path }))?.ips.length, 1);
    await fixture.call('del', conf, orphan, { path });
    await fixture.end();
  });
}
