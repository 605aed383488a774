import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { ContainerRecord } from '../containers/record.ts';
import { largestMessage } from '../cri/limits.ts';
import { containerInfo } from './container-messages.ts';

it('the verbose status of a container with a very large environment fits into a message', () => {
  const value = 'x'.repeat(9 * 1024 * 1024);
  const envs = [{ key: 'A', value: Buffer.from(value) }];
  const record = { id: 'c', sandboxId: 's', config: { envs } } as unknown as ContainerRecord;
  const { info = '' } = containerInfo(record, { process: { env: [`A=${value}`] } });
  assert.ok(info.length < largestMessage, `${info.length} bytes`);
  const { sandboxID, config, runtimeSpec } = JSON.parse(info) as Record<string, { omitted?: string }>;
  assert.equal(sandboxID, 's');
  for (const part of [config, runtimeSpec]) assert.match(part?.omitted ?? '', /^it has \d+ bytes$/u);
});
