import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { balancers } from '../services/balancers.ts';
import { cases } from '../services/cases.ts';
import { runCase } from '../services/run-case.ts';
import { openStage } from '../services/stage.ts';
import type { Stage } from '../services/stage.ts';

/**
 * A short part of the table of requirements for every load balancer. `npm run test:services` runs the whole
 * table.
 */
const { open, missing } = balancers['nftables'] ?? assert.fail();

describe('virtual servers by nf_tables', { skip: missing() }, () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage(open);
  });
  after(() => stage.close());
  for (const each of cases.filter(({ quick }) => quick))
    it(`IPv${each.family} ${each.name}`, { timeout: 120_000 }, async () => void (await runCase(stage, each)));
});
