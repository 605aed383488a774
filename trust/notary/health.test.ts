import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

test('on a full disk the service reports that it is unhealthy and why, serves the stored files, and is healthy again when there is room', async () => {
  const disk = mkdtempSync(join(tmpdir(), 'portcullis-health-'));
  // A tmpfs in a mount namespace that ends with the program.
  const program = `
    import { execFileSync } from 'node:child_process';
    import { rmSync, writeFileSync } from 'node:fs';
    import { setTimeout as pause } from 'node:timers/promises';
    import { startTrustService } from ${JSON.stringify(import.meta.resolve('./trust-service.ts'))};
    const disk = ${JSON.stringify(disk)};
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', disk]);
    const service = await startTrustService({ listen: '127.0.0.1:0', data: disk + '/data' });
    const health = async () => {
      const answer = await fetch(service.url + '/_notary_server/health');
      return { status: answer.status, body: await answer.json() };
    };
    const until = async (status) => {
      for (;;) {
        const seen = await health();
        if (seen.status === status) return seen.body;
        await pause(100);
      }
    };
    const key = async () => (await fetch(service.url + '/v2/example.com/app/_trust/tuf/timestamp.key')).text();
    const before = { key: await key(), health: await until(200) };
    try { writeFileSync(disk + '/filler', Buffer.alloc(4_000_000)); } catch {}
    const full = await until(503);
    const after = { key: await key() };
    rmSync(disk + '/filler');
    const room = await until(200);
    await service.close();
    process.stdout.write(JSON.stringify({ well: before.health, full, served: after.key === before.key, room }));`;
  try {
    const words = [
      '-m',
      '--propagation',
      'private',
      process.execPath,
      '--input-type=module-typescript',
      '-e',
      program,
    ];
    const { stdout } = await promisify(execFile)('unshare', words, { timeout: 120_000 });
    const seen = JSON.parse(stdout) as { readonly full: Readonly<Record<string, string>> };
    const { 'DB operational': reason = '' } = seen.full;
    assert.match(reason, /full/u);
    assert.deepEqual(seen, { well: {}, full: { 'DB operational': reason }, served: true, room: {} });
  } finally {
    rmSync(disk, { recursive: true });
  }
});
