import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { runProgram, portcullisCommand } from '../test/fixtures/command.ts';

/** A reader of one of these never returns: nobody writes to the FIFO, and the device has no end. */
describe('a FIFO or a device that is given as a file', () => {
  let folder = '';
  const given: { readonly name: string; readonly path: () => string }[] = [
    { name: 'a FIFO', path: () => join(folder, 'fifo') },
    { name: 'a device', path: () => join(folder, 'zero') },
  ];
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-not-a-file-'));
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    symlinkSync('/dev/zero', join(folder, 'zero'));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Runs the command for at most 60 s, with memory that no such file fits into. */
  const run = (words: readonly string[]): ReturnType<typeof runProgram> =>
    runProgram('timeout', ['--signal=KILL', '60', ...portcullisCommand, ...words], {
      ...process.env,
      HOME: folder,
    });

  const commands: readonly (readonly [
    name: string,
    words: (path: string) => readonly string[],
    code?: number,
  ])[] = [
    [
      'the configuration of the daemon',
      (path) => [
        'daemon',
        '--config',
        path,
        '--root',
        join(folder, 'root'),
        '--state',
        join(folder, 'state'),
      ],
    ],
    ['the configuration of setup', (path) => ['setup', '--config', path, '--yes']],
    ['a policy', (path) => ['policy', 'check', path], 2],
    ['a policy to format', (path) => ['policy', 'fmt', path]],
    ['a signing key', (path) => ['sign', '--key', path, 'registry.test/a:1']],
    [
      'a passphrase',
      (path) => [
        'setup',
        '--config',
        join(folder, 'c.yaml'),
        '--images',
        'r.test/**',
        '--key',
        join(folder, 'key'),
        '--passphrase-file',
        path,
        '--yes',
      ],
    ],
    ['a profile', (path) => ['entitlements', 'check', path]],
    ['an exported verdict log', (path) => ['verdicts', 'ls', '--file', path]],
    ['a bundle', (path) => ['sigstore-verify-bundle', '--bundle', path, '--key', path, path]],
    ['a specification', (path) => ['spec', 'validate', path]],
    ['an archive', (path) => ['trust', 'archive', 'verify', path], 2],
    ['a policy of another tool', (path) => ['policy', 'import', '--from', 'containers', path], 2],
  ];
  for (const { name, path } of given)
    for (const [what, words, code] of commands)
      it(`${name} is refused at once: ${what}`, async () => {
        const before = readdirSync(folder);
        const ended = await run(words(path()));
        assert.match(ended.output, /not a (?:regular )?file/, `${ended.code}: ${ended.output}`);
        if (code !== undefined) assert.equal(ended.code, code);
        assert.notEqual(ended.code, 0);
        assert.deepEqual(readdirSync(folder), before, 'nothing is written');
      });
});
