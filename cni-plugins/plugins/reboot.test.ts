import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { isPortcullisError } from '../../base/errors/index.ts';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { createPluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import type { Conf, Of, PluginFixture } from '../plugin-engine/plugin-engine.fixture.ts';
import { bootOf } from '../namespaces/namespace-id.ts';

/**
 * A reboot under another runtime, for every example of docs/cni-plugins.md: the state folder stays, the
 * kernel is empty. The runtime deletes the attachments that it remembers, in any order, and creates them
 * again.
 */
const marker = 'PORTCULLIS_TEST_REBOOTED';

if (inPrivateNetns(import.meta.filename, 240_000)) {
  const former = process.env[marker];
  const folder = former === undefined ? mkdtempSync(join(tmpdir(), 'portcullis-reboot-')) : '';
  const fixture = createPluginFixture(former);
  after(async () => {
    await fixture.end();
    if (folder !== '') rmSync(folder, { recursive: true, force: true });
  });
  shell(
    'sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add uplink type veth peer name far; ip addr add 192.0.2.1/24 dev uplink; ip link set uplink up; ip link set far up; ip route add default via 192.0.2.9; ip link add dev0 type veth peer name far0',
  );
  const document = readFileSync(new URL('../../docs/cni-plugins.md', import.meta.url), 'utf8');
  const examples = [...document.matchAll(/```json\n([^]*?)```/gu)].map(
    ([, text = '{}']) => JSON.parse(text) as { readonly name: string; readonly plugins: readonly Conf[] },
  );
  const ofExample = (name: string, netns: string): Of => ({ id: `pod-${name}`, netns, network: name });
  /** An example that cannot be added here: the kernel lacks its link, or it needs a daemon and a server. */
  const unavailable = ['NETWORK_LINK_TYPE_MISSING', 'NETWORK_DHCP_NEEDS_DAEMON'];
  /** Returns false when the example cannot be added here. */
  const added = async (of: Of, plugins: readonly Conf[]): Promise<boolean> => {
    try {
      await fixture.check(plugins, of, await fixture.add(plugins, of));
      return true;
    } catch (thrown) {
      if (isPortcullisError(thrown) && unavailable.includes(thrown.code)) {
        await fixture.del(plugins, of);
        return false;
      }
      throw thrown;
    }
  };

  if (former === undefined) {
    test('the state of every plugin is released by a reboot, and recreated', async () => {
      let stood = 0;
      for (const { name, plugins } of examples)
        if (await added(ofExample(name, fixture.pin(name)), plugins)) stood += 1;
      assert.ok(stood >= 9, `${stood} examples stood`);
      const copy = join(folder, 'network.db');
      asOfAnotherBoot(fixture, copy);
      const { NODE_TEST_CONTEXT: _outer, ...environment } = process.env;
      const again = spawnSync(
        'unshare',
        [
          '--net',
          '--mount',
          process.execPath,
          ...flagsOfSources(),
          '--test-force-exit',
          import.meta.filename,
        ],
        {
          env: { ...environment, [marker]: copy },
          encoding: 'utf8',
        },
      );
      assert.equal(again.status, 0, `${again.stdout}${again.stderr}`);
    });
  } else {
    for (const [index, { name, plugins }] of examples.entries())
      test(`after the reboot: ${name}`, async (context) => {
        const gone = ofExample(name, `/run/netns/gone-${name}`);
        // Like containerd, which deletes first; and like a runtime that forgot.
        if (index % 2 === 0) await fixture.del(plugins, gone);
        const of = ofExample(name, fixture.pin(name));
        if (!(await added(of, plugins))) return context.skip('it cannot be added here');
        await fixture.del(plugins, of);
        await fixture.del(plugins, gone);
      });
    test('no earlier state is left', () => {
      const db = new DatabaseSync(former, { readOnly: true });
      for (const table of ['attachment', 'part', 'lease', 'host_port', 'dhcp_lease'])
        assert.deepEqual({ ...db.prepare(`SELECT count(*) AS n FROM ${table}`).get() }, { n: 0 }, table);
      db.close();
    });
  }
}

function asOfAnotherBoot({ databasePath }: PluginFixture, copy: string): void {
  const db = new DatabaseSync(databasePath);
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  db.close();
  copyFileSync(databasePath, copy);
  const other = new DatabaseSync(copy);
  for (const table of ['attachment', 'lease', 'host_port', 'last_lease'])
    other
      .prepare(`UPDATE ${table} SET realm = ? || substr(realm, ?)`)
      .run('00000000-0000-4000-8000-000000000000', bootOf().length + 1);
  other.close();
}
