import assert from 'node:assert/strict';
import type { Case } from './case.ts';
import type { Stage } from './stage.ts';

/**
 * @returns `refused`: the balancer refuses and names the field, as the table requires @throws when a check
 * fails
 */
export async function runCase(
  stage: Stage,
  { refusedBy, server: describe, run }: Case,
): Promise<'held' | 'refused'> {
  const server = describe(stage);
  const refusal = stage.balancer.refuse(server);
  if (refusedBy?.kind === stage.balancer.kind) {
    assert.equal(refusal?.field, refusedBy.field);
    return 'refused';
  }
  assert.equal(refusal, undefined);
  stage.balancer.change([server], []);
  try {
    await run(stage, server);
  } finally {
    stage.balancer.reconcile([]);
  }
  return 'held';
}
