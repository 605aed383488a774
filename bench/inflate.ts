import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { inflateChunks, readChunks, zstdEngine } from '../base/inflate/index.ts';
import type { Engine } from '../base/inflate/index.ts';
import { createIsalEngine } from '../base/inflate/isal-engine.ts';
import { findIsal } from '../base/inflate/isal-library.ts';
import { findNodeEngines } from '../base/inflate/node-engine.ts';
import { byStream } from '../runtime/images/unpack/decompress.ts';

/**
 * `sh packaging/node bench/inflate.ts [rounds [file.tar]]`: processor time, time and memory to inflate and
 * hash one archive, each way in a separate process, in turns. Without a file it writes an archive of 300 MB.
 * Needs 1 GB in TMPDIR.
 */
const chunkSize = 256 * 1024;
const options = { chunkSize, readableHighWaterMark: 4 * chunkSize, writableHighWaterMark: 2 * chunkSize };
const none = new AbortController().signal;

const by =
  (create: (() => Engine) | undefined) =>
  (path: string): AsyncGenerator<Buffer> =>
    inflateChunks(path, create ?? missing(), none);

function missing(): never {
  throw new Error('this machine does not have it');
}

function isalEngine(): (() => Engine) | undefined {
  const found = findIsal();
  return 'isal' in found ? () => createIsalEngine(found.isal) : undefined;
}

const ways: Readonly<
  Record<string, { readonly ending: string; readonly chunks: (path: string) => AsyncGenerator<Buffer> }>
> = {
  'gzip, stream of Node': { ending: '.gz', chunks: (path) => byStream(path, createGunzip(options), none) },
  'gzip, engine of Node': { ending: '.gz', chunks: by(findNodeEngines()?.gzip) },
  'gzip, libisal': { ending: '.gz', chunks: by(isalEngine()) },
  'zstd, stream of Node': {
    ending: '.zst',
    chunks: (path) => byStream(path, createZstdDecompress(options), none),
  },
  'zstd, engine of Node': { ending: '.zst', chunks: by(zstdEngine(27)) },
  'plain, stream of Node': {
    ending: '',
    chunks: (path) =>
      createReadStream(path, { highWaterMark: chunkSize }).iterator() as AsyncGenerator<Buffer>,
  },
  'plain, read ahead': { ending: '', chunks: (path) => readChunks(path, none) },
};

interface Figures {
  readonly ms: number;
  readonly userMs: number;
  readonly systemMs: number;
  readonly peakMb: number;
}

async function measure(way: string, path: string): Promise<Figures> {
  const before = process.cpuUsage();
  const began = performance.now();
  const digest = createHash('sha256');
  for await (const chunk of (ways[way] ?? missing()).chunks(path)) digest.update(chunk);
  digest.digest();
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(before);
  return { ms, userMs: user / 1000, systemMs: system / 1000, peakMb: process.resourceUsage().maxRSS / 1024 };
}

/** Writes bytes of which a third compresses badly. */
function writeArchive(path: string): void {
  const fd = openSync(path, 'w');
  const block = Buffer.alloc(1024 * 1024);
  for (let count = 0, state = 1; count < 300; count += 1) {
    for (let at = 0; at < block.length; at += 1) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      block[at] = state >>> 30 === 0 ? state >>> 16 : 97 + ((at >> 3) % 23);
    }
    writeSync(fd, block);
  }
  closeSync(fd);
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

async function compare(rounds: number, given: string | undefined): Promise<void> {
  const folder = mkdtempSync(`${process.env['TMPDIR'] ?? tmpdir()}/inflate-`);
  try {
    const archive = `${folder}/archive`;
    if (given === undefined) writeArchive(archive);
    else await pipeline(createReadStream(given), createWriteStream(archive));
    await pipeline(createReadStream(archive), createGzip(), createWriteStream(`${archive}.gz`));
    await pipeline(createReadStream(archive), createZstdCompress(), createWriteStream(`${archive}.zst`));
    const results = new Map<string, Figures[]>();
    for (let round = 0; round < rounds; round += 1) {
      for (const [way, { ending }] of Object.entries(ways)) {
        const run = spawnSync(
          process.execPath,
          [import.meta.filename, 'measure', way, `${archive}${ending}`],
          { encoding: 'utf8' },
        );
        if (run.status !== 0)
          process.stderr.write(
            `${way}: ${run.stderr.split('\n').find((line) => line.includes('Error')) ?? run.stderr}\n`,
          );
        else results.set(way, [...(results.get(way) ?? []), JSON.parse(run.stdout) as Figures]);
      }
    }
    process.stdout.write(
      `${Math.round(statSync(archive).size / 1e6)} MB, gzip of ${Math.round(statSync(`${archive}.gz`).size / 1e6)} MB\n`,
    );
    for (const [way, figures] of results) {
      const of = (key: keyof Figures): string =>
        Math.round(median(figures.map((each) => each[key]))).toString();
      process.stdout.write(
        `${way}: ${of('ms')} ms, processor ${of('userMs')} + ${of('systemMs')} ms, peak ${of('peakMb')} MB\n`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const [command, way = '', path = ''] = process.argv.slice(2);
if (command === 'measure') process.stdout.write(JSON.stringify(await measure(way, path)));
else await compare(Number(command ?? 5), way === '' ? undefined : way);
