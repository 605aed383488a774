import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeOf } from './routes.ts';

const gun = 'registry.example.com/pay/app';

test('a request is for the last collection, role and version that its path names', () => {
  const rows: readonly (readonly [string, string, object])[] = [
    ['GET', `/v2/${gun}/_trust/tuf/timestamp.json`, { operation: 'GetRole', role: 'timestamp', which: 'current' }],
    [
      'GET',
      `/v2/${gun}/_trust/tuf/12.targets/releases.json`,
      { operation: 'GetRoleByVersion', role: 'targets/releases', which: { version: 12 } },
    ],
    ['GET', `/v2/${gun}/_trust/tuf/0.root.json`, { operation: 'GetRoleByVersion', role: 'root', which: { version: 0 } }],
    [
      'GET',
      `/v2/${gun}/_trust/tuf/root.${'aB'.repeat(32)}.json`,
      { operation: 'GetRoleByHash', role: 'root', which: { hash: 'ab'.repeat(32) } },
    ],
    ['POST', `/v2/${gun}/_trust/tuf/`, { operation: 'UpdateTUF', dialect: 'notary' }],
    ['DELETE', `/tuf/${gun}/`, { operation: 'DeleteTUF', dialect: 'tuf' }],
    ['GET', `/tuf/${gun}/3.targets%2Freleases.json`, { operation: 'GetRoleByVersion', role: 'targets/releases', which: { version: 3 } }],
  ];
  for (const [method, path, expected] of rows)
    assert.deepEqual(routeOf(method, path), { ...routeOf(method, path), ...expected, gun }, path);
  assert.deepEqual(routeOf('GET', '/v2/a/_trust/tuf/b/_trust/tuf/root.json'), {
    ...{ operation: 'GetRole', dialect: 'notary', gun: 'a/_trust/tuf/b' },
    ...{ role: 'root', which: 'current' },
  });
});

test('no path holds the service up', () => {
  const long = 16_000;
  for (const path of [
    `/v2/a/_trust/tuf/${'1'.repeat(long)}`,
    `/v2/a/_trust/tuf/${'1'.repeat(4000)}`,
    `/v2/a${'/_trust/tuf/targets'.repeat(200)}`,
    `/v2/a${'/_trust/tuf/targets'.repeat(long / 19)}`,
    `/v2/a/_trust/tuf/targets/${'a.'.repeat(long / 2)}`,
    `/tuf/${'%61'.repeat(long / 3)}/1.root.json`,
  ]) {
    // Processor time, which other load does not lengthen; a hundred times what it takes.
    const before = process.cpuUsage();
    assert.equal(routeOf('GET', path).operation, 'NotFound', path.slice(0, 60));
    const { user } = process.cpuUsage(before);
    assert.ok(user < 100_000, `${path.slice(0, 60)}… took ${user} µs`);
  }
});
