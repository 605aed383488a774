import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createHttpServer } from '../../base/connections/index.ts';
import { digestOf } from '../../base/distribution/index.ts';
import { portcullis, portcullisCommand } from '../../test/fixtures/command.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-carry-test-'));
after(() => rmSync(home, { recursive: true }));

function archive(): string {
  const folder = join(home, 'layout');
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  const keep = (text: string): { readonly digest: string; readonly size: number } => {
    const bytes = Buffer.from(text);
    const digest = digestOf(bytes);
    writeFileSync(join(folder, 'blobs/sha256', digest.slice('sha256:'.length)), bytes);
    return { digest, size: bytes.length };
  };
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', ...keep('{}') };
  const manifest = {
    mediaType,
    ...keep(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [] })),
  };
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  execFileSync('tar', ['-cf', `${folder}.tar`, '-C', folder, '.']);
  return `${folder}.tar`;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`${signal} ends a push and removes its temporary files`, { timeout: 120_000 }, async () => {
    const temporary = mkdtempSync(join(home, 'tmp-'));
    let asked: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => (asked = resolve));
    // A registry that does not answer.
    const server = createHttpServer(() => asked());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const [program = '', ...words] = portcullisCommand;
      const to = `127.0.0.1:${(server.address() as AddressInfo).port.toString()}/app:1`;
      const environment = { ...process.env, TMPDIR: temporary };
      const child = spawn(program, [...words, 'images', 'push', archive(), to], {
        stdio: 'ignore',
        env: environment,
      });
      const ended = once(child, 'exit');
      await arrived;
      assert.equal(readdirSync(temporary).length, 1);
      child.kill(signal);
      assert.deepEqual([await ended, readdirSync(temporary)], [[null, signal], []]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

test('an export to - is refused: it would be a file of this name', async () => {
  const { code, stderr } = await portcullis(['images', 'export', '127.0.0.1:1/app:1', '-']);
  assert.match(stderr, /not to standard output; name a new file .*\[TRUST_ARCHIVE_NO_FILE\]/u);
  assert.equal(code, 2);
});
