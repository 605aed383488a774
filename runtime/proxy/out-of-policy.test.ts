import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../../base/log/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import type { ProxyImages } from './images.ts';
import { reportOutOfPolicy } from './out-of-policy.ts';
import type { ProxyContainer, ProxyRecords } from './records.ts';

test('a container is reported if the policy does not admit the image of one of its volumes', async () => {
  const container: ProxyContainer = {
    ...{ id: 'c1', name: 'c1', sandboxId: 'p1', namespace: 'team' },
    ...{ imageId: 'app', userSpecified: 'team/app:1', verdictId: 'v-app' },
    volumes: [{ imageId: 'data', userSpecified: '', verdictId: 'v-data' }],
  };
  const judge: ProxyImages['judge'] = ({ imageId, verdictId, namespace }) => {
    const outcome = imageId === 'data' ? 'deny' : 'admit';
    return Promise.resolve([{ outcome, id: `${verdictId} in ${namespace ?? ''}` }] as never);
  };
  const reported: unknown[] = [];
  const seen = Promise.withResolvers<void>();
  let changed: (policy: TrustPolicy) => void = () => undefined;
  const end = reportOutOfPolicy(
    {
      onChange: (listener) => {
        changed = listener;
        return () => undefined;
      },
    },
    { judge },
    { containers: { list: () => [container] } } as unknown as ProxyRecords,
    {
      warn: (facts: unknown) => {
        reported.push(facts);
        seen.resolve();
      },
    } as unknown as Logger,
  );
  changed({} as TrustPolicy);
  await seen.promise;
  await end();
  assert.deepEqual(reported, [
    { container: 'c1', image: 'data', namespace: 'team', verdict: 'v-data in team', outcome: 'deny' },
  ]);
});
