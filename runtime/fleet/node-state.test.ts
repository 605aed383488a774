import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mostStateLength } from '../../fleet/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { nodeState } from './node-state.ts';

test('the state of a node with many containers out of policy is not longer than an aggregator accepts', async () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const reference = `registry.example.com/team/${'service-'.repeat(28)}:1.0.0`;
  const container = {
    ...{ id: 'c'.repeat(64), phase: 'running', sandboxId: 's', imageId: digest, verdictId: digest },
    config: { metadata: { name: 'main', attempt: 0 }, image: { userSpecifiedImage: reference } },
  };
  const containers = Array.from({ length: 1000 }, () => container as unknown as ContainerRecord);
  const state = await nodeState({
    version: '0.1.0',
    policy: { current: () => undefined, problem: () => undefined },
    upcoming: () => undefined,
    enforcement: { state: () => ({ result: 'pass', since: '2026-01-01T00:00:00.000Z', findings: [] }) },
    redecision: {
      of: () => ({
        ...{ reference, rule: 'policy.yaml:4', outcome: 'deny', verdict: digest, policyRevision: digest },
        ...{ since: '2026-01-01T00:00:00.000Z', reasons: [] },
      }),
    },
    containers: { list: () => containers },
    sandbox: () => undefined,
    networkReady: () => Promise.resolve(true),
  });
  assert.ok(JSON.stringify(state).length <= mostStateLength);
  assert.ok(state.outOfPolicy.length > 100);
  assert.equal(state.outOfPolicy.length + state.running.length + state.omitted, 2000);
});
