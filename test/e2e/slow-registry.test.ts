import '../fixtures/private-namespaces.ts';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { layerOf, sha256 } from '../fixtures/image.ts';
import type { Layer } from '../fixtures/image.ts';
import { serveHttp } from '../fixtures/registry.ts';
import type { TestServer } from '../fixtures/registry.ts';
import { openStage, policyOf } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** A registry that sends layers very slowly must not delay pulls of the same layers from other registries. */
describe('a slow registry', () => {
  let stage: Stage;
  let slow: TestServer;
  /** Matches the URLs whose content never arrives completely. */
  let held = /^$/u;
  let asked = 0;
  before(async () => {
    slow = await serveHttp((request, response) => {
      if (!held.test(request.url ?? ''))
        return void response.writeHead(307, { location: `${stage.registry.url}${request.url ?? ''}` }).end();
      asked += 1;
      if (request.url?.includes('/blobs/') === true) response.writeHead(200).write('x');
    });
    stage = await openStage({
      policy: policyOf(
        '  - images: ["good.test/**", "slow.test/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n',
      ),
      mirrors: { 'slow.test': slow.url },
    });
  });
  after(async () => {
    await slow.close();
    await stage.close();
  });

  const lower = (): Promise<Layer> => layerOf([{ name: 'file', body: randomBytes(65_536) }]);
  /** Its meaning depends on the layer below. */
  const upper = (): Promise<Layer> => layerOf([{ name: 'link', type: 'link', linkname: 'file' }]);
  const cases = [
    ['an image without a verdict', false, []],
    ['an image with a layer that depends on the slow one', 'bundle', [upper]],
  ] as const;
  for (const [index, [what, sign, more]] of cases.entries())
    it(`does not delay another registry by ${what}`, { timeout: 60_000 }, async () => {
      const first = await lower();
      const layers = [first, ...(await Promise.all(more.map((make) => make())))];
      asked = 0;
      held = new RegExp(sign === false ? `${sha256(first.blob)}|/referrers/` : sha256(first.blob), 'u');
      await stage.publish(`slow${index}:1`, { base: false, layers }, { sign });
      const { reference } = await stage.publish(`good${index}:1`, { base: false, layers });
      const giveUp = new AbortController();
      const slowPull = stage.daemon.cri.image
        .pullImage({ image: { image: `slow.test/slow${index}:1` } }, { signal: giveUp.signal })
        .catch(() => undefined);
      while (asked === 0) await pause(10);
      // Its other layers are here.
      await pause(1_000);
      await stage.pull(reference);
      giveUp.abort();
      await slowPull;
    });

  it('does not delay another registry by its number of large layers', { timeout: 60_000 }, async () => {
    const large = (): Promise<Layer> => layerOf([{ name: 'file', body: randomBytes(4_300_000) }]);
    const layers = await Promise.all(Array.from({ length: 6 }, large));
    asked = 0;
    held = new RegExp(layers.map(({ blob }) => sha256(blob)).join('|'), 'u');
    await stage.publish('many:1', { base: false, layers });
    const { reference } = await stage.publish('one:1', { base: false, layers: [await large()] });
    const giveUp = new AbortController();
    const slowPull = stage.daemon.cri.image
      .pullImage({ image: { image: 'slow.test/many:1' } }, { signal: giveUp.signal })
      .catch(() => undefined);
    while (asked < 4) await pause(10);
    await stage.pull(reference);
    giveUp.abort();
    await slowPull;
  });
});
