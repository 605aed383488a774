import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { syncfs } from '../base/kernel/index.ts';
import { encodeLayer } from '../runtime/images/erofs/encode-layer.ts';
import { openLayerFile } from '../runtime/images/erofs/check-layer.ts';
import { defaultLimits } from '../runtime/images/limits/limits.ts';
import { unpackLayer } from '../runtime/images/unpack/unpack-layer.ts';
import { createJobCell, createWorkClock } from '../runtime/images/unpack/work-clock.ts';

/**
 * `sh packaging/node bench/erofs-layer.ts [rounds]`: the time until one layer is durable, as a layer file and
 * as a folder, in turns, each in a separate process. Needs 15 GB in TMPDIR.
 */
const archives = [
  { name: '905 MB, 12,000 files', files: 12_000, bytes: 905_000_000 },
  { name: '856 MB, 50,000 files', files: 50_000, bytes: 856_000_000 },
] as const;
const forms = ['layer file', 'folder'] as const;
type Form = (typeof forms)[number];

interface Figures {
  readonly ms: number;
  readonly cpuMs: number;
  readonly peakMb: number;
  /** Time of the check before a mount; of a layer file only. */
  readonly openMs: number | undefined;
}

async function measure(form: Form, blob: string, diffId: string, path: string): Promise<Figures> {
  const request = { blob, diffId, lowest: true, limits: defaultLimits };
  const clock = createWorkClock(createJobCell(), diffId);
  const none = (): Promise<readonly string[]> => Promise.resolve([]);
  const { signal } = new AbortController();
  const began = performance.now();
  let openMs: number | undefined;
  if (form === 'folder') {
    await unpackLayer({ ...request, staging: path }, none, clock, signal);
    syncfs(path);
  } else {
    const layer = await encodeLayer({ ...request, path }, none, clock, signal);
    const encoded = performance.now();
    closeSync(openLayerFile(path, layer));
    openMs = performance.now() - encoded;
  }
  const ms = performance.now() - began - (openMs ?? 0);
  const { user, system } = process.cpuUsage();
  return { ms, cpuMs: (user + system) / 1000, peakMb: process.resourceUsage().maxRSS / 1024, openMs };
}

/** Writes a tar of files whose content compresses to about two fifths. Returns its diff id. */
function writeTar(path: string, files: number, bytes: number): string {
  const fd = openSync(path, 'w');
  const digest = createHash('sha256');
  const write = (part: Buffer): void => {
    digest.update(part);
    writeSync(fd, part);
  };
  let seed = 1;
  const random = (): number => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
  const size = bytes / files;
  const words = Buffer.alloc(4 * 1024 * 1024);
  for (let at = 0; at < words.length; at += 1) words[at] = random() < 0.4 ? Math.floor(random() * 256) : 101;
  for (let index = 0; index < files; index += 1) {
    // Most files are small, and a few hold most of the bytes, as in an image.
    const length = index % 20 === 0 ? Math.floor(size * 15) : Math.floor((size * 5 * random() * 2) / 19);
    write(header(`usr/lib/${index % 60}/${index % 997}/file-${index}`, length));
    for (let done = 0; done < length; done += words.length)
      write(words.subarray(0, Math.min(words.length, length - done)));
    write(Buffer.alloc((512 - (length % 512)) % 512));
  }
  write(Buffer.alloc(1024));
  closeSync(fd);
  return `sha256:${digest.digest('hex')}`;
}

function header(name: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0);
  block.write(
    `0000644\u00000000000\u00000000000\u0000${size.toString(8).padStart(11, '0')}\u000007346545000\u0000        0`,
    100,
  );
  block.write('ustar\u000000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148);
  return block;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

async function compare(rounds: number): Promise<void> {
  const folder = mkdtempSync(`${process.env['TMPDIR'] ?? tmpdir()}/erofs-layer-`);
  try {
    for (const { name, files, bytes } of archives) {
      const tar = `${folder}/${files}.tar`;
      const diffId = writeTar(tar, files, bytes);
      await pipeline(createReadStream(tar), createGzip({ level: 1 }), createWriteStream(`${tar}.gz`));
      for (const blob of [`${tar}.gz`, tar]) {
        const results: Record<Form, Figures[]> = { 'layer file': [], folder: [] };
        for (let round = 0; round < rounds; round += 1) {
          for (const form of round % 2 === 0 ? forms : [...forms].reverse()) {
            const place = mkdtempSync(`${folder}/run-`);
            mkdirSync(`${place}/out`);
            spawnSync('sync');
            const { stdout, status, stderr } = spawnSync(
              process.execPath,
              [import.meta.filename, 'measure', form, blob, diffId, `${place}/out/layer`],
              {
                encoding: 'utf8',
              },
            );
            if (status !== 0) throw new Error(stderr);
            results[form].push(JSON.parse(stdout) as Figures);
          }
        }
        const megabytes = Math.round(statSync(blob).size / 1e6);
        for (const form of forms) {
          const of = (key: 'ms' | 'cpuMs' | 'peakMb'): string =>
            Math.round(median(results[form].map((each) => each[key]))).toString();
          const least = Math.round(results[form].reduce((low, { ms }) => Math.min(low, ms), Infinity));
          const open =
            form === 'folder'
              ? ''
              : `, check before a mount ${median(results[form].map(({ openMs }) => openMs ?? 0)).toFixed(1)} ms`;
          process.stdout.write(
            `${name}, ${blob.endsWith('.gz') ? `gzip ${megabytes} MB` : 'plain'}, ${form}: ` +
              `${of('ms')} ms (least ${least}), processor ${of('cpuMs')} ms, peak ${of('peakMb')} MB${open}\n`,
          );
        }
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const [command, form, blob = '', diffId = '', path = ''] = process.argv.slice(2);
if (command === 'measure') {
  process.stdout.write(
    JSON.stringify(await measure(form === 'folder' ? 'folder' : 'layer file', blob, diffId, path)),
  );
} else {
  await compare(Number(command ?? 5));
}
