import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, afterEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import type { Pod } from '../engine/engine.fixture.ts';
import { bootOf } from '../namespaces/namespace-id.ts';
import { pluginInterfaceOf } from '../database/record.ts';
import { macOf } from '../plugins/interface/link-names.ts';
import type { LinkRule, NetworkEngine } from '../types.ts';
import { following, openScene, plainAddress } from './first-packet.fixture.ts';
import type { Scene } from './first-packet.fixture.ts';

/**
 * Links that the host routes to, when the kernel has lost everything and the records still exist: rules and
 * link while no daemon runs, or everything by a reboot. A pod that sends all the time is restricted again
 * before any of its packets passes.
 */
const marker = 'PORTCULLIS_TEST_REBOOTED';

if (inPrivateNetns(import.meta.filename, 240_000)) {
  const former = process.env[marker];
  const ranges = [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]];
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
  const ptp = { type: 'portcullis-ptp', ipam: { type: 'host-local', ranges, routes } };
  const fixture = createFixture({ cniVersion: '1.0.0', name: 'routed', plugins: [ptp] });
  if (former !== undefined) {
    mkdirSync(dirname(fixture.databasePath), { recursive: true });
    copyFileSync(former, fixture.databasePath);
  }
  let engine: NetworkEngine = await fixture.engine();
  let scene: Scene | undefined;
  afterEach(() => scene?.end());
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });

  const [victim, held, attacker] = ['victim0', 'held0', 'attacker0'].map((name) => fixture.pod(name)) as [
    Pod,
    Pod,
    Pod,
  ];
  const networks = ['10.88.0.0/16', 'fd00:88::/32'];
  const only = networks.map((cidr): LinkRule => ({
    cidr,
    protocol: 'udp',
    ports: { low: 7777, high: 7777 },
  }));
  const granted = [4, 6]
    .flatMap((family) => ['routed', 'plain'].map((way) => `victim-${way}-udp${family}-7777`))
    .sort();
  const heard = [4, 6].flatMap((family) => [`host-plain-udp${family}-7777`, `host-udp${family}-7777`]).sort();
  const key = { network: 'routed', containerId: attacker.request.id, interface: 'eth0' };
  const endOf = (pod: Pod): string => pluginInterfaceOf('routed', pod.request.id, 'eth0');
  const sending = (at: Scene): void => {
    const self = [0, 1].map((index) => following(plainAddress(at.at(held), index), 1));
    at.send(attacker, self, ['10.88.0.1', 'fd00:88::1', macOf('ptp host', key)], [victim, held]);
  };
  const listening = async (at: Scene): Promise<void> => {
    for (const pod of [victim, held]) await at.attach(pod);
    for (const pod of [victim, held, undefined]) await at.listen(pod);
    await engine.setClass(victim.request.id, 'user');
    await engine.setClass(held.request.id, 'admin', { ingress: [] });
  };
  /** From the first packet on, only what its rules grant arrives. */
  const holds = async ({ settled }: Scene): Promise<void> => {
    await settled(victim, granted);
    await settled(undefined, heard);
    await settled(held, []);
  };

  if (former === undefined) {
    test('if rules and link are lost while no daemon runs, the pod is restricted before its link exists again', async () => {
      scene = openScene(fixture, engine, '0');
      await listening(scene);
      const attachment = await scene.attach(attacker);
      await engine.setClass(attacker.request.id, 'admin', { egress: only });
      // The second time the listeners' links are removed too: they receive nothing more, but the host does.
      for (const lost of [[attacker], [attacker, victim, held]]) {
        await engine.close({ removeAll: false });
        for (const pod of lost) shell(`ip link del ${endOf(pod)}`);
        shell('nft flush ruleset');
        sending(scene);
        await pause(200);
        engine = await fixture.engine();
        await eventually(
          () =>
            attacker.run('ip -o address show dev eth0')?.includes(attachment.ips[1]?.address ?? '?') ||
            undefined,
        );
        await holds(scene);
        assert.deepEqual((await engine.linkState(attacker.request.id))?.problems, []);
      }
    });

    test('after a reboot no rule is left, and a recreated pod is restricted again', async () => {
      scene = openScene(fixture, engine, '0');
      assert.equal(engine.list().length, 3);
      const copy = join(fixture.folder, 'network.db');
      asOfAnotherBoot(copy);
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
    test('after the reboot', async () => {
      // The runtime does this after a start; plugins continue after it.
      await engine.gc(new Set());
      await eventually(() => engine.list().length === 0 || undefined);
      // A record is removed after its attachment.
      await eventually(() => fixture.rows('SELECT count(*) FROM attachment')[0] === '0' || undefined);
      assert.doesNotMatch(tried('nft list ruleset') ?? '', /pc[0-9a-f]{12}/u);
      scene = openScene(fixture, engine, '0');
      await listening(scene);
      sending(scene);
      await pause(200);
      await scene.attach(attacker);
      await pause(400);
      assert.deepEqual([victim, held, undefined].flatMap(scene.arrived), [], 'while it is denied');
      await engine.setClass(attacker.request.id, 'admin', { egress: only });
      await holds(scene);
    });
  }

  function asOfAnotherBoot(copy: string): void {
    const db = new DatabaseSync(fixture.databasePath);
    db.exec(`VACUUM INTO '${copy}'`);
    db.close();
    const other = new DatabaseSync(copy);
    for (const table of ['attachment', 'lease', 'host_port', 'last_lease'])
      other
        .prepare(`UPDATE ${table} SET realm = ? || substr(realm, ?)`)
        .run('00000000-0000-4000-8000-000000000000', bootOf().length + 1);
    other.close();
  }
}
