import './pid-namespace.ts';
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { restingLook, runVariant } from './campaign.ts';
import { deliberate } from './deliberate.ts';
import { changesSince, differences, look } from './observer.ts';
import type { Snapshot } from './observer.ts';
import { openScene } from './scene/scene.ts';
import type { Scene } from './scene/scene.ts';
import { someOfEach, variants } from './variants/index.ts';

/** `npm run test:tenant` is the long form: every variant, under both ceilings. */
const chosen = someOfEach(1);

describe('a tenant of one namespace', () => {
  let scene: Scene;
  let resting: Snapshot = [];
  before(async () => {
    scene = await openScene('baseline');
    resting = await restingLook(scene);
  });
  after(() => scene.close());

  it('is tested with about 300 variants or more, of every group', () => {
    assert.ok(variants.length >= 300, String(variants.length));
    assert.deepEqual(new Set(chosen.map(({ group }) => group)), new Set(variants.map(({ group }) => group)));
    const names = variants.map(({ group, name }) => `${group}: ${name}`);
    assert.deepEqual(names.toSorted(), [...new Set(names)].toSorted());
  });

  it('is observed: each deliberate change is found, and no difference after it is undone', async () => {
    // All changes at once: each has its own line.
    for (const change of deliberate) await change.make(scene);
    const missed = async (): Promise<readonly string[]> => {
      const lines = differences(resting, await look(scene)).flatMap(({ what, line }) =>
        what === 'more' ? [line] : [],
      );
      return deliberate
        .filter(({ found }) => !lines.some((line) => found.test(line)))
        .map(({ name }) => name);
    };
    let left = await missed();
    for (const until = performance.now() + 60_000; left.length > 0 && performance.now() < until;)
      left = await missed();
    for (const change of deliberate.toReversed()) await change.takeBack(scene);
    assert.deepEqual(left, []);
    // The kernel forgets the location of the pod of that name by itself.
    const isFormer = (line: string): boolean =>
      /^neighbour \S+ dev net231 lladdr 0a:58:0a:e7:00:/u.test(line);
    assert.deepEqual(await changesSince(scene, resting, isFormer), []);
    resting = await restingLook(scene);
  });

  for (const variant of chosen)
    it(`changes nothing outside its pod: ${variant.group}: ${variant.name}`, async () => {
      assert.deepEqual((await runVariant(scene, variant, resting)).differences, []);
    });
});
