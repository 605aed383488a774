import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Scheduler, VirtualServer } from '../model/model.ts';
import { towardsLeast } from '../slots/least-connections.ts';
import { digestOf, emptyOf, keyBytes } from './elements.ts';
import type { Standing } from './elements.ts';
import { compactServer, standingOf } from './compact-server.ts';
import { createModes } from './modes.ts';
import { nameOf, planOf } from './plan.ts';

const anyServer = fc.record({
  scheduler: fc.constantFrom<Scheduler>('rr', 'wrr', 'lc', 'sh', 'maglev'),
  clientAffinity: fc.boolean(),
  persistenceSeconds: fc.option(fc.constant(60), { nil: undefined }),
  kind: fc.constantFrom<VirtualServer['kind']>('virtual', 'node'),
  family: fc.constantFrom<4 | 6>(4, 6),
  backends: fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 8 }),
  weight: fc.integer({ min: 0, max: 5 }),
});

/**
 * Makes consecutive changes of a server, as holding.ts does: between two changes, only the kept state exists.
 */
test('the kept state of a server restores the full state, whatever its history', () => {
  fc.assert(
    fc.property(fc.array(anyServer, { minLength: 1, maxLength: 6 }), (changes) => {
      const modes = createModes();
      let before: Standing | undefined;
      for (const { backends, weight, persistenceSeconds, kind, ...rest } of changes) {
        const server: VirtualServer = {
          service: 'web',
          portName: 'main',
          kind,
          ...(kind === 'node' ? {} : { address: rest.family === 4 ? '10.96.0.1' : 'fd96::1' }),
          protocol: 'tcp',
          port: 80,
          forwarding: 'nat',
          sourceAddress: 'keep',
          ...(persistenceSeconds !== undefined && { persistenceSeconds }),
          ...rest,
          destinations: backends.map((number, index) => ({
            address: rest.family === 4 ? `10.0.0.${number}` : `fd00::${number}`,
            port: 8080,
            weight: index === 0 ? weight : 1,
          })),
        };
        const loads = server.destinations
          .filter((each) => each.weight > 0)
          .map((each, index) => ({ name: nameOf(each), weight: each.weight, active: index * 7 }));
        const isWeighed = server.scheduler === 'lc' && loads.length > 1;
        const weights = isWeighed
          ? new Map(towardsLeast(loads).map((each) => [each.name, each.weight]))
          : undefined;
        if (before !== undefined) modes.release(before.mode);
        const plan = planOf(server, before?.plan?.slots, weights);
        const { number } = modes.use(plan, emptyOf(server), before?.mode);
        const existing: Standing = {
          server,
          mode: number,
          digest: digestOf(server),
          key: keyBytes(server),
          ...(plan && { plan }),
        };
        before = standingOf(compactServer(existing), modes);
        assert.deepEqual(before, existing);
      }
    }),
    { numRuns: 300 },
  );
});
