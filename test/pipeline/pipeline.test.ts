/**
 * The pipeline files of packaging/ci, from a source to a running pod, on loopback. GitHub's workflow runs
 * in act and GitLab's components in gitlab-ci-local; the commands of the other files run as they are.
 * `npm test` runs the scripts; `npm run test:pipeline` runs every platform.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { platforms } from './platforms.ts';
import { openStand } from './stand.ts';
import type { Stand } from './stand.ts';

const isWide = process.env['PORTCULLIS_WIDE'] === '1';

describe('from a source to a running pod', () => {
  let stand: Stand;
  before(async () => {
    stand = await openStand();
  });
  after(() => stand.close());

  for (const platform of platforms) {
    const skip = isWide || platform.name === 'shell' ? platform.skip : 'npm run test:pipeline';
    it(platform.name, { skip }, async () => {
      const at = stand.workspace();
      const built = await stand.build(at);
      const run = await platform.run(stand, at, built);
      assert.equal(run.code, 0, run.output);
      assert.equal(run.admitted, built.image, run.output);
      assert.equal(await stand.deploy(run.admitted), readFileSync(join(at, 'page.txt'), 'utf8'));
    });
  }
});
