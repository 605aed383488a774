import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { fetchJson, multipart, post, publisher, sha256 } from './publisher.fixture.ts';
import type { OnlineEntries } from './publisher.fixture.ts';
import { startTrustService } from './trust-service.ts';

const gun = 'example.com/app';
/** `PORTCULLIS_TRUST_KILLS=200` runs the long form. */
const kills = Number(process.env['PORTCULLIS_TRUST_KILLS'] ?? 5);
const names = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`v${index}`, `content ${index}`]));

interface Served {
  readonly child: ChildProcess;
  readonly url: string;
}

/** Starts a service in its own process. */
async function serve(folder: string): Promise<Served> {
  const source = `import { startTrustService } from ${JSON.stringify(import.meta.resolve('./trust-service.ts'))};
    const { url } = await startTrustService({ listen: '127.0.0.1:0', data: ${JSON.stringify(folder)} });
    process.stdout.write(url);`;
  const child = spawn(process.execPath, [...flagsOfSources(), '--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [url] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, url: url.toString() };
}

async function kill({ child }: Served): Promise<void> {
  const ended = once(child, 'exit');
  assert.ok(child.kill('SIGKILL'), 'it had ended before the kill');
  await ended;
  assert.equal(child.signalCode, 'SIGKILL', 'it failed by itself');
}

describe('a trust service that is killed', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-trust-crash-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('keeps every acknowledged update complete, whenever it is killed; and two processes never use one data folder', async () => {
    let service = await serve(folder);
    const address = (): string => `${service.url}/v2/${gun}/_trust/tuf/`;
    await assert.rejects(
      startTrustService({ listen: '127.0.0.1:0', data: folder }),
      (error) =>
        error instanceof PortcullisError &&
        error.code === 'STORAGE_IN_USE' &&
        error.message.includes(`process ${String(service.child.pid)} uses it`),
    );
    const online: OnlineEntries = {
      snapshot: await fetchJson(`${address()}snapshot.key`),
      timestamp: await fetchJson(`${address()}timestamp.key`),
    };
    const owner = publisher(gun);
    const targets = (version: number): Buffer => owner.targets(version, names);
    const parts = [
      { name: 'root', bytes: owner.root(1, online) },
      { name: 'targets', bytes: targets(1) },
    ];
    assert.equal((await post(address(), multipart(parts))).status, 200);
    const posted = new Map<number, Buffer>();
    let acknowledged = 1;
    const met = { answered: 0, stored: 0, lost: 0 };
    for (let round = 0; round < kills; round += 1) {
      const publish = (): Promise<number | undefined> => {
        const bytes = targets(acknowledged + 1);
        posted.set(acknowledged + 1, bytes);
        return post(address(), multipart([{ name: 'targets', bytes }])).then(
          ({ status }) => status,
          () => undefined,
        );
      };
      for (let count = 0; count < 3; count += 1) {
        assert.equal(await publish(), 200);
        acknowledged += 1;
      }
      // The kill hits a publish at a different moment in each round.
      const last = publish();
      await pause(round % 12);
      await kill(service);
      const isAnswered = (await last) === 200;
      if (isAnswered) acknowledged += 1;
      service = await serve(folder);
      const bytes = Buffer.from(await (await fetch(`${address()}targets.json`)).arrayBuffer());
      const version = (JSON.parse(bytes.toString()) as { signed: { version: number } }).signed.version;
      // The last publish may have been stored without an acknowledgement.
      assert.ok(version === acknowledged || version === acknowledged + 1, `${version} after ${acknowledged}`);
      if (version > 1) assert.ok(posted.get(version)?.equals(bytes), 'bytes posted are bytes served');
      met[isAnswered ? 'answered' : version > acknowledged ? 'stored' : 'lost'] += 1;
      acknowledged = version;
      const files = await Promise.all(
        ['timestamp', 'snapshot'].map(async (role) =>
          Buffer.from(await (await fetch(`${address()}${role}.json`)).arrayBuffer()),
        ),
      );
      const [named, snapshot] = files.map((file) => (JSON.parse(file.toString()) as Meta).signed.meta);
      assert.equal(digestIn(named, 'snapshot'), sha256(files[1] ?? Buffer.alloc(0)));
      assert.equal(digestIn(snapshot, 'targets'), sha256(bytes));
      const feed = await fetchJson<{ records: { SHA256: string }[] }>(
        `${service.url}/v2/${gun}/_trust/changefeed?records=-1`,
      );
      assert.equal(feed.records[0]?.SHA256, sha256(files[0] ?? Buffer.alloc(0)));
    }
    await kill(service);
    process.stdout.write(`# ${kills} kills, the publish at the kill: ${JSON.stringify(met)}\n`);
    if (kills >= 20) assert.ok(met.stored + met.lost > 0, 'no kill came before the answer of a publish');
  });
});

interface Meta {
  readonly signed: { readonly meta: Record<string, { readonly hashes: { readonly sha256: string } }> };
}

const digestIn = (meta: Meta['signed']['meta'] | undefined, role: string): string =>
  Buffer.from(meta?.[role]?.hashes.sha256 ?? '', 'base64').toString('hex');
