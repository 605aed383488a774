import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import {
  readFilePart,
  readGivenFile,
  readGivenFileSync,
  readPlainFile,
  readPlainFileSync,
  readPlainFileWithMode,
} from './index.ts';

type Read = (path: string, limit: number) => Promise<string>;

for (const [name, read] of [
  ['readPlainFileSync', async (path, limit) => readPlainFileSync(path, limit)],
  ['readPlainFile', async (path, limit) => (await readPlainFile(path, limit)).toString()],
  ['readGivenFile', async (path, limit) => (await readGivenFile(path, limit)).toString()],
  ['readGivenFileSync', async (path, limit) => readGivenFileSync(path, limit).toString()],
] satisfies [string, Read][])
  describe(`a regular file, read by ${name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-plain-'));
    after(() => rmSync(folder, { recursive: true }));
    const written = (text: string): string => {
      const path = join(folder, 'file');
      writeFileSync(path, text);
      return path;
    };

    it('is read without a function that Node 22 does not have', async () => {
      const known = Object.getOwnPropertyDescriptor(globalThis, 'DisposableStack');
      assert.ok(known);
      Reflect.deleteProperty(globalThis, 'DisposableStack');
      try {
        assert.equal(await read(written('text'), 100), 'text');
      } finally {
        Object.defineProperty(globalThis, 'DisposableStack', known);
      }
    });

    for (const text of ['', 'a', 'ä'.repeat(50)])
      it(`of ${text.length} characters is read whole`, async () =>
        assert.equal(await read(written(text), 100), text));
    it('of one byte more than the limit is refused', () =>
      assert.rejects(read(written('a'.repeat(101)), 100), /^Error: it is larger than 100 bytes$/));
    it('that reports no size is read whole', async () =>
      assert.match(await read('/proc/self/status', 65_536), /^Name:[^]*ctxt_switches/));
    it('that reports no size is read up to the limit', () =>
      assert.rejects(read('/proc/self/status', 10), /larger than 10 bytes/));
    it('is not a folder, a FIFO or a device', async () => {
      const fifo = join(folder, 'fifo');
      execFileSync('mkfifo', [fifo]);
      for (const path of [fifo, '/dev/zero'])
        await assert.rejects(read(path, 100), /it is not a regular file/, path);
      await assert.rejects(read(folder, 100), /it is a folder/);
    });
    it('that is missing gives the system’s error', () =>
      assert.rejects(read(join(folder, 'none'), 100), { code: 'ENOENT' }));
  });

for (const name of ['readGivenFile', 'readGivenFileSync'])
  describe(`a descriptor that the user opened, read by ${name}`, () => {
    const program = `
      import { ${name} } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
      const reading = async () => ${name}(process.argv[1], 100);
      process.stdout.write(await reading().then(String, String));`;
    const read = (path: string, redirection: string): string =>
      spawnSync(
        'bash',
        [
          '-c',
          `"$0" --input-type=module-typescript -e "$1" ${path} ${redirection}`,
          process.execPath,
          program,
        ],
        {
          encoding: 'utf8',
          timeout: 20_000,
        },
      ).stdout;

    it('is read to its end, also if it is a pipe', () => {
      assert.equal(read('/dev/stdin', '< <(sleep 0.1; echo piped)'), 'piped\n');
      assert.equal(read('/dev/fd/9', '9< <(echo nine)'), 'nine\n');
      assert.equal(read('<(echo substituted)', ''), 'substituted\n');
    });
    it('is read up to the limit', () =>
      assert.equal(read('/dev/stdin', '< /dev/zero'), 'Error: it is larger than 100 bytes'));
  });

describe('a part of a regular file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-part-'));
  after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'file');
  writeFileSync(path, '0123456789');

  for (const [start, most, expected] of [
    [0, 4, '0123'],
    [4, 4, '4567'],
    [8, 4, '89'],
    [10, 4, ''],
    [11, 4, ''],
    [0, 0, ''],
  ] as const)
    it(`of ${most} bytes from ${start} on has these bytes of the file, and the size of the file`, async () => {
      const part = await readFilePart(path, start, most);
      assert.ok('bytes' in part);
      assert.deepEqual([Buffer.from(part.bytes).toString(), part.size], [expected, 10]);
    });
  it('is not read through a link, and not from a folder or a FIFO', async () => {
    const [link, fifo] = [join(folder, 'link'), join(folder, 'fifo')];
    symlinkSync(path, link);
    execFileSync('mkfifo', [fifo]);
    await assert.rejects(readFilePart(link, 0, 1), { code: 'ELOOP' });
    for (const other of [folder, fifo])
      assert.deepEqual(await readFilePart(other, 0, 1), { refused: 'not a plain file' });
  });
});

it('a file is read with its own mode, also through a link', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-plain-'));
  after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'file'), 'x', { mode: 0o640 });
  symlinkSync('file', join(folder, 'link'));
  const { bytes, mode } = await readPlainFileWithMode(join(folder, 'link'), 10);
  assert.deepEqual([bytes.toString(), mode & 0o777], ['x', 0o640]);
});
