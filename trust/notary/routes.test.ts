import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeOf } from './routes.ts';

const gun = 'registry.example.com/pay/app';

test('a request is for the last collection, role and version that its path names', () => {
  const rows: readonly (readonly [string, string, object])[] = [
    [
      'GET',
      `/v2/${gun}/_trust/tuf/timestamp.json`,
      { operation: 'GetRole', role: 'timestamp', which: 'current' },
    ],
    [
      'GET',
      `/v2/${gun}/_trust/tuf/12.targets/releases.json`,
      { operation: 'GetRoleByVersion', role: 'targets/releases', which: { version: 12 } },
    ],
    [
      'GET',
      `/v2/${gun}/_trust/tuf/0.root.json`,
      { operation: 'GetRoleByVersion', role: 'root', which: { version: 0 } },
    ],
    [
      'GET',
      `/v2/${gun}/_trust/tuf/root.${'aB'.repeat(32)}.json`,
      { operation: 'GetRoleByHash', role: 'root', which: { hash: 'ab'.repeat(32) } },
    ],
    ['POST', `/v2/${gun}/_trust/tuf/`, { operation: 'UpdateTUF', dialect: 'notary' }],
    ['DELETE', `/tuf/${gun}/`, { operation: 'DeleteTUF', dialect: 'tuf' }],
    [
      'GET',
      `/tuf/${gun}/3.targets%2Freleases.json`,
      { operation: 'GetRoleByVersion', role: 'targets/releases', which: { version: 3 } },
    ],
  ];
  for (const [method, path, expected] of rows)
    assert.deepEqual(routeOf(method, path), { ...routeOf(method, path), ...expected, gun }, path);
  assert.deepEqual(routeOf('GET', '/v2/a/_trust/tuf/b/_trust/tuf/root.json'), {
    ...{ operation: 'GetRole', dialect: 'notary', gun: 'a/_trust/tuf/b' },
    ...{ role: 'root', which: 'current' },
  });
});

test('no path delays the service', () => {
  const long = 16_000;
  for (const path of [
    `/v2/a/_trust/tuf/${'1'.repeat(long)}`,
    `/v2/a/_trust/tuf/${'1'.repeat(4000)}`,
    `/v2/a${'/_trust/tuf/targets'.repeat(200)}`,
    `/v2/a${'/_trust/tuf/targets'.repeat(long / 19)}`,
    `/v2/a/_trust/tuf/targets/${'a.'.repeat(long / 2)}`,
    `/tuf/${'%61'.repeat(long / 3)}/1.root.json`,
  ]) {
    // Processor time, which other load does not affect. The limit is a hundred times the usual time.
    const before = process.cpuUsage();
    assert.equal(routeOf('GET', path).operation, 'NotFound', path.slice(0, 60));
    const { user } = process.cpuUsage(before);
    assert.ok(user < 100_000, `${path.slice(0, 60)}… took ${user} µs`);
  }
});

test('an invalid name is refused when the route is read, with the name in the error', () => {
  const guns = [
    'a%0ab',
    'a%0d%0aSet-Cookie:x',
    '%00',
    'a%7f',
    '%c2%85',
    '%E2%82%AC',
    'caf%C3%A9',
    'caf\u00e9',
    '%f0%9f%98%80',
    'a'.repeat(256),
  ];
  for (const gun of guns)
    for (const [method, path] of [
      ...['root.json', '1.root.json', 'timestamp.key', `root.${'a'.repeat(64)}.json`].map((file) => [
        'GET',
        `/v2/${gun}/_trust/tuf/${file}`,
      ]),
      ...['root.json', '1.root.json', 'timestamp.key'].map((file) => ['GET', `/tuf/${gun}/${file}`]),
      ...['POST', 'DELETE'].flatMap((verb) =>
        [`/v2/${gun}/_trust/tuf/`, `/tuf/${gun}/`].map((path) => [verb, path]),
      ),
      ['GET', `/v2/${gun}/_trust/changefeed`],
    ] as [string, string][]) {
      const route = routeOf(method, path);
      assert.deepEqual(
        [route.operation, 'refused' in route && route.refused],
        ['BadName', 'INVALID_GUN'],
        `${method} ${path}`,
      );
      // The answer does not repeat refused input.
      assert.match(JSON.stringify(route), /^[\x20-\x7e]+$/u);
    }
  for (const path of [
    '/v2/%ff/_trust/tuf/root.json',
    '/v2/%/_trust/tuf/root.json',
    '/tuf/a%c3/root.json',
    '/tuf/a/%zz.json',
  ])
    assert.equal(routeOf('GET', path).operation, 'BadName', path);
  for (const role of ['%00', 'a%0ab', '1.a%7f', '1.%c2%9f', 'a'.repeat(256)]) {
    const route = routeOf('GET', `/tuf/a/${role}.json`);
    assert.deepEqual(
      [route.operation, 'refused' in route && route.refused],
      ['BadName', 'INVALID_ROLE'],
      role,
    );
  }
});

test('unusual names that are valid in a header are accepted', () => {
  for (const gun of ['a"b', 'a\\b', "a'b", 'a b', 'a,b=c;d', '~!@$&()+', 'a'.repeat(255)]) {
    const path = `/tuf/${encodeURIComponent(gun)}/root.json`;
    assert.deepEqual(routeOf('GET', path), {
      operation: 'GetRole',
      dialect: 'tuf',
      gun,
      role: 'root',
      which: 'current',
    });
  }
  // A delegated TUF role may have a name in any script.
  assert.equal(routeOf('GET', '/tuf/a/team%2F%C3%A9.json').operation, 'GetRole');
});
