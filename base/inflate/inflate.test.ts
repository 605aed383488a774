import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { zstdCompressSync } from 'node:zlib';
import { Refused, gzipEngine, gzipInflater, inflateChunks, readChunks, zstdEngine } from './index.ts';
import { cachedRead } from './cached-read.ts';
import type { Engine } from './index.ts';
import { gzip, gzipEngines, sampleText } from './samples.fixture.ts';

const none = new AbortController().signal;
const text = sampleText(3_000_000);

let folder = '';
beforeEach(() => {
  folder = mkdtempSync('/dev/shm/portcullis-inflate-');
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function fileOf(bytes: Buffer): string {
  writeFileSync(`${folder}/blob`, bytes);
  return `${folder}/blob`;
}

/** Copies the chunks, as each is valid only until the next one. */
async function contentOf(chunks: AsyncGenerator<Buffer>): Promise<Buffer> {
  const copies: Buffer[] = [];
  for await (const chunk of chunks) copies.push(Buffer.from(chunk));
  return Buffer.concat(copies);
}

/** Descriptors of this process that are open in the folder. */
function openFiles(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;
}

async function untilClosed(): Promise<void> {
  for (let tries = 0; openFiles() > 0; tries += 1) {
    assert.ok(tries < 30_000, 'the file stays open');
    await sleep(5);
  }
}

const ways: readonly (readonly [string, (() => Engine) | undefined, () => Buffer])[] = [
  ['gzip by libisal', gzipEngines().libisal, () => Buffer.concat([gzip(text), gzip(text)])],
  ['gzip by Node', gzipEngines().Node, () => Buffer.concat([gzip(text), gzip(text)])],
  ['zstd', zstdEngine(27), () => Buffer.concat([zstdCompressSync(Buffer.concat([text, text]))])],
];

for (const [name, create, blob] of ways) {
  describe(name, { skip: create === undefined && 'this machine does not have it' }, () => {
    const inflate = (path: string, signal = none): AsyncGenerator<Buffer> =>
      inflateChunks(path, create as () => Engine, signal);

    test('a file of many parts is read completely, and is closed', async () => {
      assert.ok((await contentOf(inflate(fileOf(blob())))).equals(Buffer.concat([text, text])));
      await untilClosed();
    });

    test('the memory of the buffers is free when the file has been read', async () => {
      const memory = new Set<ArrayBufferLike>();
      for await (const chunk of inflate(fileOf(blob()))) memory.add(chunk.buffer);
      await untilClosed();
      assert.deepEqual(
        [...memory].map(({ byteLength }) => byteLength),
        [0, 0],
      );
    });

    test('two buffers serve all chunks', async () => {
      const memory = new Set<ArrayBufferLike>();
      let chunks = 0;
      for await (const chunk of inflate(fileOf(blob()))) {
        memory.add(chunk.buffer);
        chunks += 1;
      }
      assert.ok(chunks > 8);
      assert.equal(memory.size, 2);
    });

    test('a file that ends early is refused after its content', async () => {
      const bytes = blob();
      const chunks = inflate(fileOf(bytes.subarray(0, -9)));
      const copies: Buffer[] = [];
      await assert.rejects(async () => {
        for await (const chunk of chunks) copies.push(Buffer.from(chunk));
      }, Refused);
      const found = Buffer.concat(copies);
      assert.ok(
        found.length > 4_000_000 && found.equals(Buffer.concat([text, text]).subarray(0, found.length)),
      );
      await untilClosed();
    });

    test('a caller that stops leaves no open file', async () => {
      for await (const chunk of inflate(fileOf(blob()))) {
        assert.ok(chunk.length > 0);
        break;
      }
      await untilClosed();
    });

    test('a signal ends the work with its reason', async () => {
      const abort = new AbortController();
      const reason = new Error('stop here');
      await assert.rejects(
        async () => {
          for await (const chunk of inflate(fileOf(blob()), abort.signal)) {
            assert.ok(chunk.length > 0);
            abort.abort(reason);
          }
        },
        (thrown) => thrown === reason,
      );
      await untilClosed();
    });

    test('a missing file gives the error of the file system', async () => {
      await assert.rejects(contentOf(inflate(`${folder}/missing`)), { code: 'ENOENT' });
    });
  });
}

/** Hardly compressible: deflaters store it. */
const noise = randomBytes(5_000_000);
const storedWays: typeof ways = [
  ['gzip by libisal', gzipEngines().libisal, () => gzip(noise)],
  ['gzip by Node', gzipEngines().Node, () => gzip(noise)],
  ['zstd', zstdEngine(27), () => zstdCompressSync(noise)],
];

for (const [name, create, blob] of storedWays) {
  describe(`incompressible data, ${name}`, { skip: create === undefined && 'not on this machine' }, () => {
    const inflate = (path: string, signal = none): AsyncGenerator<Buffer> =>
      inflateChunks(path, create as () => Engine, signal);

    test('is inflated in the thread of the caller, into one buffer', async () => {
      const copies: Buffer[] = [];
      const memory: ArrayBufferLike[] = [];
      for await (const chunk of inflate(fileOf(blob()))) {
        copies.push(Buffer.from(chunk));
        memory.push(chunk.buffer);
      }
      assert.ok(Buffer.concat(copies).equals(noise));
      assert.equal(new Set(memory.slice(2)).size, 1);
      await untilClosed();
    });

    test('before and after compressible data is inflated too', async () => {
      if (name === 'zstd') return;
      const mixed = Buffer.concat([text, noise, text.subarray(0, 700_000), noise]);
      assert.ok((await contentOf(inflate(fileOf(gzip(mixed))))).equals(mixed));
    });

    test('a changed byte is refused', async () => {
      const bytes = Buffer.from(blob());
      bytes[2_000_000] = (bytes[2_000_000] as number) ^ 1;
      // A frame of zstd has no checksum here.
      if (name === 'zstd') assert.ok(!(await contentOf(inflate(fileOf(bytes)))).equals(noise));
      else await assert.rejects(contentOf(inflate(fileOf(bytes))), Refused);
    });

    test('other events of the thread have their turns', async () => {
      let turns = 0;
      let isOver = false;
      const count = (): void => {
        turns += 1;
        if (!isOver) setImmediate(count);
      };
      setImmediate(count);
      let chunks = 0;
      for await (const chunk of inflate(fileOf(blob()))) chunks += Math.sign(chunk.length);
      isOver = true;
      assert.ok(turns >= chunks, `${turns} turns beside ${chunks} chunks`);
    });

    test('a signal from another event ends the work', async () => {
      const abort = new AbortController();
      setImmediate(() => {
        abort.abort(new Error('stop here'));
      });
      await assert.rejects(contentOf(inflate(fileOf(blob()), abort.signal)), /stop here/u);
      await untilClosed();
    });
  });
}

test('a cached read decides nothing about the end of a file, as Linux 5.10 may return 0 before it', () => {
  const onDisk = mkdtempSync(`${tmpdir()}/portcullis-inflate-`);
  writeFileSync(`${onDisk}/file`, 'content');
  const fd = openSync(`${onDisk}/file`, 'r');
  try {
    const buffer = Buffer.alloc(100);
    const read = cachedRead();
    // A file system may not support it.
    const bytes = read(fd, buffer, 2, 50);
    if (bytes !== undefined) assert.equal(buffer.toString('utf8', 2, 2 + bytes), 'content');
    assert.equal(read(fd, buffer, 0, 50), undefined);
  } finally {
    closeSync(fd);
    rmSync(onDisk, { recursive: true });
  }
});

test('a file is complete whether all, some or none of it is in the page cache', async () => {
  const onDisk = mkdtempSync(`${tmpdir()}/portcullis-inflate-`);
  try {
    const path = `${onDisk}/blob`;
    writeFileSync(path, gzip(noise));
    execFileSync('sync', [path]);
    const blocks = ['bs=65536', 'status=none'];
    for (const dropped of [[], ['skip=20', 'count=10'], ['count=0']]) {
      const drop = ['iflag=nocache', `if=${path}`, 'of=/dev/null', ...blocks];
      if (dropped.length > 0) execFileSync('dd', [...drop, ...dropped], { stdio: 'ignore' });
      const engine = gzipEngine() ?? assert.fail();
      assert.ok((await contentOf(inflateChunks(path, engine, none))).equals(noise));
      assert.ok((await contentOf(readChunks(path, none))).equals(readFileSync(path)));
    }
  } finally {
    rmSync(onDisk, { recursive: true });
  }
});

test('a signal ends a stream that yields nothing', async () => {
  const empty = gzip('');
  const path = fileOf(Buffer.concat(Array.from({ length: 200_000 }, () => empty)));
  const abort = new AbortController();
  setTimeout(() => {
    abort.abort(new Error('stop here'));
  }, 5);
  await assert.rejects(
    contentOf(inflateChunks(path, gzipEngine() ?? assert.fail(), abort.signal)),
    /stop here/u,
  );
});

test('a plain file is read unchanged, in two buffers', async () => {
  const path = fileOf(text);
  assert.ok((await contentOf(readChunks(path, none))).equals(readFileSync(path)));
  const memory = new Set<ArrayBufferLike>();
  for await (const chunk of readChunks(path, none)) memory.add(chunk.buffer);
  assert.equal(memory.size, 2);
  await untilClosed();
  assert.ok([...memory].every(({ byteLength }) => byteLength === 0));
});

test('a folder instead of a file is an error', async () => {
  await assert.rejects(contentOf(readChunks(folder, none)), { code: 'EISDIR' });
});

test('the inflater of gzip has a name or a reason', () => {
  const { library, why } = gzipInflater();
  assert.match(library ?? why, library === undefined ? /libisal/u : /^\/usr\/lib.*\/libisal\.so\.2/u);
});

test('a thread that ends while it inflates does not harm the process', async () => {
  const path = fileOf(Buffer.concat(Array.from({ length: 4 }, () => gzip(text))));
  for (let round = 0; round < 10; round += 1) {
    const worker = new Worker(new URL('./inflating.worker.fixture.ts', import.meta.url), {
      workerData: path,
    });
    await new Promise((resolve) => worker.once('message', resolve));
    await sleep(round);
    await worker.terminate();
  }
});
