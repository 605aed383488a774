/**
 * Runs the commands of docs/trust-service.md that move a collection from Debian's notary-server to our
 * service.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import { startTrustService } from '../../trust/notary/index.ts';
import { runProgram } from '../fixtures/command.ts';
import {
  notary,
  notaryCommand,
  notaryEnvironment,
  notaryServer,
  startNotaryServer,
} from '../fixtures/notary.ts';

const gun = 'registry.example.com/pay/app';

it(
  'a collection is moved by the documented commands',
  { skip: notaryCommand.skip || notaryServer.skip },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-move-'));
    const [theirs, ours] = [
      await startNotaryServer(join(folder, 'theirs')),
      await startTrustService({ listen: '127.0.0.1:0', data: join(folder, 'ours') }),
    ];
    try {
      const [owner, reader] = [join(folder, 'owner/.notary'), join(folder, 'reader')];
      for (const home of [owner, reader]) mkdirSync(home, { recursive: true });
      writeFileSync(join(folder, 'one'), 'one');
      const done = async (service: string, home: string, ...words: string[]): Promise<string> => {
        const { code, output } = await notary(service, home, words);
        assert.equal(code, 0, `${words.join(' ')}: ${output}`);
        return output;
      };
      const rows = (output: string): string[] =>
        output
          .split('\n')
          .filter((line) => / targets *$/u.test(line))
          .map((line) => line.trim())
          .sort();
      await done(theirs.url, owner, 'init', '-p', gun);
      for (const name of ['1.0', '1.1'])
        await done(theirs.url, owner, 'add', '-p', gun, name, join(folder, 'one'));
      // The usual history of an older collection.
      await done(theirs.url, owner, 'key', 'rotate', gun, 'snapshot', '-r');
      await done(theirs.url, owner, 'key', 'rotate', gun, 'targets');
      const before = rows(await done(theirs.url, reader, 'list', gun));
      assert.equal(before.length, 2);

      const document = readFileSync(join(import.meta.dirname, '../../docs/trust-service.md'), 'utf8');
      const [, commands = ''] =
        /## Move from notary-server[\s\S]*?```sh\n([\s\S]*?)```/u.exec(document) ?? [];
      const script = commands
        .replaceAll('https://old.example.com:4443', theirs.url)
        .replaceAll('https://trust.example.com:4443', ours.url);
      assert.ok(script.includes(theirs.url) && script.includes(ours.url));
      const path = `${dirname(notaryCommand.path)}:${process.env['PATH'] ?? ''}`;
      const environment = { ...notaryEnvironment, PATH: path, HOME: join(folder, 'owner') };
      const moved = await runProgram('bash', ['-euc', script], environment, folder);
      assert.equal(moved.code, 0, moved.output);
      assert.deepEqual(rows(moved.stdout), before);

      const stale = await notary(ours.url, reader, ['list', gun]);
      assert.notEqual(stale.code, 0, stale.output);
      rmSync(join(reader, 'tuf'), { recursive: true });
      assert.deepEqual(rows(await done(ours.url, reader, 'list', gun)), before);
    } finally {
      await Promise.all([theirs.close(), ours.close()]);
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
