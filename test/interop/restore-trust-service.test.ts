/** Runs the commands of docs/trust-service.md after the service was restored from an older backup. */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import { startTrustService } from '../../trust/notary/index.ts';
import { runProgram } from '../fixtures/command.ts';
import { notary, notaryCommand, notaryEnvironment } from '../fixtures/notary.ts';

const gun = 'registry.example.com/pay/app';

it(
  'clients and the publisher follow a service that was restored from an older backup after the documented commands',
  { skip: notaryCommand.skip },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-restore-'));
    const data = join(folder, 'data');
    const start = (listen = '127.0.0.1:0') => startTrustService({ listen, data });
    let service = await start();
    const { url } = service;
    try {
      const [owner, reader] = [join(folder, 'owner/.notary'), join(folder, 'reader')];
      for (const home of [owner, reader]) mkdirSync(home, { recursive: true });
      writeFileSync(join(folder, 'one'), 'one');
      const done = async (home: string, ...words: string[]): Promise<string> => {
        const { code, output } = await notary(url, home, words);
        assert.equal(code, 0, `${words.join(' ')}: ${output}`);
        return output;
      };
      await done(owner, 'init', '-p', gun);
      await done(owner, 'add', '-p', gun, '1.0', join(folder, 'one'));
      // A stopped service has no other files of the database.
      await service.close();
      copyFileSync(join(data, 'trust.db'), join(folder, 'copy.db'));
      service = await start(new URL(url).host);
      for (const name of ['1.1', '1.2', '1.3', '1.4'])
        await done(owner, 'add', '-p', gun, name, join(folder, 'one'));
      assert.match(await done(reader, 'list', gun), /^1\.4 /mu);
      await service.close();
      copyFileSync(join(folder, 'copy.db'), join(data, 'trust.db'));
      service = await start(new URL(url).host);
      for (const home of [owner, reader]) {
        const stale = await notary(url, home, ['list', gun]);
        assert.notEqual(stale.code, 0, stale.output);
      }

      const document = readFileSync(join(import.meta.dirname, '../../docs/trust-service.md'), 'utf8');
      const [, commands = ''] = /## Backup and restore[\s\S]*? ```sh\n([\s\S]*?)```/u.exec(document) ?? [];
      const script = commands.replaceAll('https://trust.example.com:4443', url);
      assert.ok(script.includes(url), script);
      const path = `${dirname(notaryCommand.path)}:${process.env['PATH'] ?? ''}`;
      const environment = { ...notaryEnvironment, PATH: path, HOME: join(folder, 'owner') };
      const restored = await runProgram('bash', ['-euc', script], environment, folder);
      assert.equal(restored.code, 0, restored.output);
      // A reader compares with its timestamp until it has stored the root that names the new keys.
      const once = await notary(url, reader, ['list', gun]);
      assert.notEqual(once.code, 0, once.output);
      assert.match(await done(reader, 'list', gun), /^1\.0 /mu);
      await done(owner, 'add', '-p', gun, '1.5', join(folder, 'one'));
      assert.match(await done(reader, 'list', gun), /^1\.5 /mu);
    } finally {
      await service.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
