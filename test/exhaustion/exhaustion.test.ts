import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { attacks } from './attacks.ts';
import { outOfDescriptors } from './descriptors.ts';
import { gapsOf, openScene, sessionAnswers } from './scene.ts';
import type { Scene } from './scene.ts';
import { Samples } from './samples.ts';
import { askUntil } from './victim.ts';

/**
 * Small forms of the attacks: these check losses, refusals and leftovers. `npm run test:exhaustion` judges
 * response times.
 */
const scale = { connections: 1_500, lineBytes: 16 * 2 ** 20, mounts: 10_000, processes: 200, slowReaders: 8 };
/** The attacks that find the most defects in little time. */
const chosen = [
  'log of one line without an end',
  'a request with very many mounts',
  'clients that do not read events and lists',
  'trust clients that do not read',
  'idle connections of the CRI',
  'half requests to the streaming server',
  'DNS connections',
  'CRI messages of 64 MiB',
  'WebSocket frames of 2^62 bytes',
];

describe('while a resource is exhausted', () => {
  let scene: Scene;
  before(async () => {
    scene = await openScene();
  });
  // Closing fails when mounts, links or cgroups are left.
  after(() => scene.close());

  for (const attack of attacks(scale).filter(({ name }) => chosen.includes(name)))
    it(`nothing is lost: ${attack.name}`, async () => {
      const before = scene.stage.daemon.usage();
      const samples = new Samples();
      const running = await attack.start(scene);
      const begin = performance.now();
      await askUntil(scene, samples, () => performance.now() - begin > 1_000, 60_000);
      const { failures } = await running.end();
      assert.deepEqual(failures, []);
      for (const kind of samples.kinds()) assert.deepEqual([kind, samples.failures(kind)], [kind, []]);
      assert.ok(scene.stage.daemon.isAlive());
      assert.deepEqual(gapsOf(scene.victim.log).gaps, []);
      assert.equal(scene.eventsEnd(), undefined);
      assert.ok(await sessionAnswers(scene.session), 'the session that existed before');
      const { residentMiB } = scene.stage.daemon.usage();
      assert.ok(residentMiB < before.residentMiB + 512, `${residentMiB} MiB, ${before.residentMiB} before`);
    });

  it('the daemon stays alive without a free descriptor, and serves once descriptors are free again', async () => {
    assert.deepEqual(await outOfDescriptors(scene), []);
  });
});
