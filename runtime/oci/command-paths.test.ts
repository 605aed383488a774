import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { hostPathsHere } from '../host-paths/in-process.fixture.ts';
import { checkCommandPlace } from './command-paths.ts';

test('a container whose mounts cannot be read is checked in a separate process that may hang', async () => {
  let asked = 0;
  const paths = {
    checkPlace: (...given: Parameters<typeof hostPathsHere.checkPlace>) => {
      asked += 1;
      return hostPathsHere.checkPlace(...given);
    },
  };
  const { pid } = spawnSync('true');
  const target = {
    id: 'c',
    init: pid,
    handler: { kind: 'crun', version: '1.15', showsMounts: true },
  } as const;
  await assert.rejects(checkCommandPlace(target, { cwd: '/data' }, paths), {
    code: 'RUNTIME_CONTAINER_ROOT_UNKNOWN',
  });
  assert.equal(asked, 1);
});
