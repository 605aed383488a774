import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createHttpServer } from '../base/connections/index.ts';
import { portcullis } from '../test/fixtures/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-service-parts-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const document = (name: string, backends: number): string =>
  [
    'apiVersion: portcullis.dev/v1alpha1\nkind: Service',
    `metadata: { name: ${name} }\naddresses: [10.96.${name.slice(1)}.1]\nports: [80]`,
    `backends: [${Array.from({ length: backends }, (_, index) => `10.9.${index >> 8}.${index & 255}`).join()}]\n`,
  ].join('\n');

test('if the daemon ends between the parts of a large request, the applied services are listed', async () => {
  const file = join(folder, 'large.yaml');
  const names = Array.from({ length: 60 }, (_, index) => `s${index}`);
  writeFileSync(file, names.map((name) => document(name, 1000)).join('---\n'));
  const socket = join(folder, 'admin.sock');
  let parts = 0;
  const server = createHttpServer((request, response) => {
    request.resume().on('end', () => {
      parts += 1;
      if (parts > 1) request.socket.destroy();
      else response.end('{"refused":[]}');
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  try {
    const { code, stdout, stderr } = await portcullis([
      'service',
      'apply',
      '-f',
      file,
      '--admin-socket',
      socket,
    ]);
    assert.deepEqual([code, parts], [4, 2], stderr);
    const applied = stdout.trimEnd().split('\n');
    assert.deepEqual(
      applied,
      names.slice(0, applied.length).map((name) => `${name} applied`),
    );
    assert.match(stderr, /the daemon does not answer .*\[CLI_NO_DAEMON\]/u);
  } finally {
    server.close();
  }
});

test('a missing daemon is reported with its socket, once', async () => {
  const socket = join(folder, 'none.sock');
  const { code, stderr } = await portcullis(['service', 'ls', '--admin-socket', socket]);
  assert.equal(code, 4);
  assert.equal(stderr.split(socket).length - 1, 1, stderr);
});
