import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { findDriver } from './discover.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-discover-'));
const [sockets, etc, usr] = ['run', 'etc', 'usr'].map((name) => join(folder, name)) as [
  string,
  string,
  string,
];
for (const path of [sockets, etc, usr, join(sockets, 'nested'), join(etc, 'inner')]) mkdirSync(path);
const folders = { socketDirs: [sockets], specDirs: [etc, usr] };
const servers = [
  join(sockets, 'plain.sock'),
  join(sockets, 'nested/nested.sock'),
  join(sockets, 'both.sock'),
].map((path) => createServer().listen(path));
after(async () => {
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});
for (const server of servers) if (!server.listening) await once(server, 'listening');
const write = (path: string, text: string): void => writeFileSync(join(folder, path), text);
write('etc/both.spec', 'tcp://127.0.0.1:1');
write('etc/unix.spec', 'unix:///srv/driver.sock\n');
write('etc/inner/inner.spec', 'tcp://192.0.2.1:8080');
write('usr/later.spec', 'tcp://[2001:db8::1]:99');
write(
  'etc/secured.json',
  '{"Name":"x","Addr":"https://driver.example.com","TLSConfig":{"CAFile":"/ca.pem","CertFile":"/c.pem","KeyFile":"/k.pem"}}',
);
write('etc/loose.json', '{"Addr":"tcp://192.0.2.1:4","TLSConfig":{"InsecureSkipVerify":true}}');

test('a socket comes first, then .spec, then .json, as in docker', () => {
  for (const [driver, at] of [
    ['plain', { socket: join(sockets, 'plain.sock') }],
    ['nested', { socket: join(sockets, 'nested/nested.sock') }],
    ['both', { socket: join(sockets, 'both.sock') }],
    ['unix', { socket: '/srv/driver.sock' }],
    ['inner', { host: '192.0.2.1', port: 8080 }],
    ['later', { host: '2001:db8::1', port: 99 }],
    [
      'secured',
      {
        host: 'driver.example.com',
        port: 443,
        tls: { insecureSkipVerify: false, caFile: '/ca.pem', certFile: '/c.pem', keyFile: '/k.pem' },
      },
    ],
    ['loose', { host: '192.0.2.1', port: 4, tls: { insecureSkipVerify: true } }],
  ] as const)
    assert.deepEqual(findDriver(driver, folders).at, at, driver);
});

const codeOf = (driver: string): string => {
  try {
    findDriver(driver, folders);
  } catch (thrown) {
    if (isPortcullisError(thrown)) return thrown.code;
    throw thrown;
  }
  return 'found';
};

test('a missing driver and an unusable one are reported differently', () => {
  assert.equal(codeOf('nobody'), 'NETWORK_CNM_DRIVER_UNKNOWN');
  // A plain file with the name of a socket does not count as one.
  write('run/file.sock', '');
  assert.equal(codeOf('file'), 'NETWORK_CNM_DRIVER_UNKNOWN');
  for (const [ending, text] of [
    ['spec', ''],
    ['spec', 'driver'],
    ['spec', 'unix://relative'],
    ['spec', 'ftp://192.0.2.1/'],
    ['spec', 'tcp://192.0.2.1'],
    ['spec', 'x'.repeat(70_000)],
    ['json', '{'],
    ['json', '[]'],
    ['json', '{"Addr":7}'],
    ['json', '{"Addr":"tcp://192.0.2.1:4","TLSConfig":{"CAFile":"ca.pem"}}'],
    ['json', '{"Addr":"tcp://192.0.2.1:4","TLSConfig":7}'],
  ] as const) {
    write(`etc/wrong.${ending}`, text);
    assert.equal(codeOf('wrong'), 'NETWORK_CNM_DRIVER_INVALID', text.slice(0, 60));
    rmSync(join(folder, `etc/wrong.${ending}`));
  }
});

test('any file content results in an address or a Portcullis error', () => {
  const text = fc.oneof(
    fc.string(),
    fc.webUrl(),
    fc.json(),
    fc
      .record({ Addr: fc.oneof(fc.webUrl(), fc.string()), TLSConfig: fc.jsonValue() })
      .map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(fc.constantFrom('spec', 'json'), text, (ending, written) => {
      write(`etc/any.${ending}`, written);
      assert.match(codeOf('any'), /^found$|^NETWORK_CNM_DRIVER_INVALID$/u);
      rmSync(join(folder, `etc/any.${ending}`));
    }),
    { seed: 11, numRuns: 200 },
  );
});
