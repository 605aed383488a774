import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { parseChallenges } from '../../../base/distribution/challenge.ts';
import { parseManifest as parseAnyManifest } from '../../../base/distribution/manifest.ts';
import { parseReference } from '../../../base/distribution/reference.ts';
import { drive } from '../../../base/inflate/drive.fixture.ts';
import { gzip, gzipEngines } from '../../../base/inflate/samples.fixture.ts';
import { parseImageConfig } from '../../../runtime/images/manifest/image-config.ts';
import { chooseManifest } from '../../../runtime/images/manifest/image-index.ts';
import { parseManifest } from '../../../runtime/images/manifest/image-manifest.ts';
import { defaultLimits } from '../../../runtime/images/limits/limits.ts';
import { createPaxReader } from '../../../runtime/images/unpack/pax.ts';
import { createTarReader } from '../../../runtime/images/unpack/tar-reader.ts';
import type { TarEntry } from '../../../runtime/images/unpack/tar-metadata.ts';
import type { FuzzTarget } from './target.ts';
import { layerFileTargets, sparseArchive } from './images-layer-files.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const platform = { os: 'linux', architecture: 'amd64' } as const;
const descriptor = (mediaType: string): object => ({ mediaType, digest, size: 123 });
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  config: descriptor('application/vnd.oci.image.config.v1+json'),
  layers: [
    descriptor('application/vnd.oci.image.layer.v1.tar+gzip'),
    descriptor('application/vnd.oci.image.layer.v1.tar'),
  ],
  annotations: { 'org.opencontainers.image.ref.name': 'a' },
});
const index = JSON.stringify({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  manifests: [
    { ...descriptor('application/vnd.oci.image.manifest.v1+json'), platform },
    {
      ...descriptor('application/vnd.oci.image.manifest.v1+json'),
      platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
    },
  ],
});
/** Node 26.10 crashed when it read this input a second time. */
const deepConfig = `{"architecture":"amd64","os":"linux","config":{"User":"1000:1000",${'"Envtecture":"amd64","os":"linux","config":{"User":"1000:1000",'.repeat(5800)}"a":1`;
const config = JSON.stringify({
  architecture: 'amd64',
  os: 'linux',
  config: {
    User: '1000:1000',
    Env: ['PATH=/bin', 'A=b'],
    Entrypoint: ['/bin/sh'],
    Cmd: ['-c', 'true'],
    WorkingDir: '/srv',
    Volumes: { '/data': {} },
    Labels: { a: 'b' },
    StopSignal: 'SIGTERM',
    ExposedPorts: { '80/tcp': {} },
  },
  rootfs: { type: 'layers', diff_ids: [digest, digest] },
  history: [{ created: '2026-01-01T00:00:00Z' }],
});

interface Written {
  readonly name: string;
  readonly type?: string;
  readonly link?: string;
  readonly body?: Buffer | string;
}

/** A ustar header and its body (POSIX pax interchange format, section "ustar"). */
function entry({ name, type = '0', link = '', body = '' }: Written): Buffer {
  const bytes = Buffer.from(body);
  const header = Buffer.alloc(512);
  header.write(name.slice(0, 100), 0, 'latin1');
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('14000000000\0', 136);
  header.write('        ', 148);
  header.write(type, 156);
  header.write(link.slice(0, 100), 157, 'latin1');
  header.write('ustar\x0000', 257);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** One record of an extended header: its length in decimal counts itself. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (String(length).length + Buffer.byteLength(rest) !== length)
    length = String(length).length + Buffer.byteLength(rest);
  return `${length}${rest}`;
}

const pax = [
  record('path', 'long/name'),
  record('linkpath', '../target'),
  record('size', '3'),
  record('uid', '4294967295'),
  record('mtime', '1700000000.123456789'),
  record('SCHILY.xattr.user.a', 'value'),
  record('SCHILY.xattr.security.capability', `\x01\x00\x00\x02${'\x00'.repeat(16)}`),
].join('');
const end = Buffer.alloc(1024);
const tar = Buffer.concat([
  entry({ name: 'usr/', type: '5' }),
  entry({ name: 'usr/file', body: 'abc' }),
  entry({ name: 'PaxHeaders/x', type: 'x', body: pax }),
  entry({ name: 'x', type: '2', link: 'y' }),
  entry({ name: '././@LongLink', type: 'L', body: `${'n'.repeat(200)}\0` }),
  entry({ name: 'n', type: '1', link: 'usr/file' }),
  entry({ name: 'pax_global_header', type: 'g', body: record('comment', 'c') }),
  entry({ name: 'usr/.wh.file' }),
  entry({ name: 'usr/.wh..wh..opq' }),
  end,
]);

/** Reads an archive in pieces of the given size, and returns a digest of the result. */
function readTar(bytes: Buffer, piece: number): unknown {
  const seen = createHash('sha256');
  let entries = 0;
  const reader = createTarReader({
    begin({ xattrs, mtime, ...rest }: TarEntry) {
      entries++;
      seen.update(
        JSON.stringify([
          { ...rest, mtime: String(mtime) },
          [...(xattrs ?? [])].map(([name, value]) => [name, Buffer.from(value).toString('hex')]),
        ]),
      );
    },
    data: (chunk) => void seen.update(chunk),
    end: () => void seen.update('.'),
  });
  for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
  reader.finish();
  return { entries, digest: seen.digest('hex') };
}

/** Read as a whole and in pieces, the records are the same. */
function readPax(bytes: Buffer): unknown {
  const read = (piece: number): unknown => {
    const reader = createPaxReader();
    for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
    return reader.finish();
  };
  const whole = outcome(() => inspect(read(Math.max(1, bytes.length))));
  const pieces = outcome(() => inspect(read(bytes.length > 65_536 ? 4099 : 7)));
  if (whole !== pieces) throw new TypeError(`read whole: ${whole}; read in pieces: ${pieces}`);
  return whole;
}

const outcome = (body: () => unknown): string => {
  try {
    return JSON.stringify(body());
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) throw error;
    return `refused: ${(error as Error).message}`;
  }
};

/** Bytes of output after which a stream is left alone: a few bytes can inflate to a gigabyte. */
const inflatedLimit = 1024 * 1024;

/**
 * Inflates by each engine, the input whole and in pieces: it must accept what gunzip accepts, with the same
 * bytes. Only libisal may accept more, because it does not refuse Huffman codes that are not complete.
 */
async function readGzip(bytes: Buffer): Promise<unknown> {
  let expected: string;
  let isIncomplete = false;
  try {
    expected = createHash('sha256')
      .update(gunzipSync(bytes, { maxOutputLength: inflatedLimit }))
      .digest('hex');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') return 'large';
    expected = 'refused';
    isIncomplete = /invalid .* set$/u.test(message);
  }
  for (const [name, create] of Object.entries(gzipEngines())) {
    for (const [piece, output] of [
      [bytes.length, 65_536],
      [bytes.length > 65_536 ? 4099 : 37, 1021],
    ] as const) {
      if (create === undefined) continue;
      const inflated = await drive(create, bytes, { input: () => piece, output });
      const answer = inflated === undefined ? 'refused' : createHash('sha256').update(inflated).digest('hex');
      const isAllowed = answer === expected || (name === 'libisal' && isIncomplete);
      if (!isAllowed) throw new TypeError(`${name} in pieces of ${piece}: ${answer}; gunzip: ${expected}`);
    }
  }
  return expected;
}

const words = [
  'ustar\0',
  'ustar  \0',
  '././@LongLink',
  'SCHILY.xattr.',
  'GNU.sparse.',
  'GNU.sparse.map=',
  'GNU.sparse.major=1',
  'LIBARCHIVE.xattr.',
  '.wh.',
  '.wh..wh..opq',
  'path=',
  'linkpath=',
  'size=',
  '\x80\0\0\0\0\0\0\0\0\0\0\x01',
];

export const targets: readonly FuzzTarget[] = [
  ...layerFileTargets,
  {
    name: 'images-tar',
    group: 'images',
    words,
    seeds: () => [tar, sparseArchive, end, entry({ name: 'a', body: 'b' })],
    read(bytes) {
      const whole = outcome(() => readTar(bytes, Math.max(1, bytes.length)));
      const pieces = outcome(() => readTar(bytes, bytes.length > 65_536 ? 4099 : 37));
      if (whole !== pieces) throw new TypeError(`read whole: ${whole}; read in pieces: ${pieces}`);
      return whole;
    },
  },
  {
    name: 'images-gzip',
    group: 'images',
    words: ['\x1f\x8b\x08\0\0\0\0\0\0\x03', '\x03\0\0\0\0\0\0\0\0\0', '\0\0\xff\xff', '\x01\0\0\xff\xff'],
    seeds: () => [
      gzipSync(tar),
      gzip('ab'.repeat(300), 9, { name: 'a', comment: 'b', extra: Buffer.from('cd'), crc: true }),
      Buffer.concat([gzip('a', 0), gzip(''), gzip(digest, 1), Buffer.alloc(9)]),
    ],
    read: readGzip,
    allows: {
      slowMs: 2500,
      memoryFactor: 60,
      why: 'it inflates up to a megabyte five times, and in small pieces',
    },
  },
  { name: 'images-pax', group: 'images', words, seeds: () => [pax, '11 path=ab\n'], read: readPax },
  {
    name: 'images-manifest',
    group: 'images',
    seeds: () => [manifest],
    read: (bytes) => parseManifest(bytes, digest, defaultLimits),
  },
  {
    name: 'images-index',
    group: 'images',
    seeds: () => [index],
    read: (bytes) => chooseManifest(bytes, digest, platform, defaultLimits),
  },
  {
    name: 'images-config',
    group: 'images',
    seeds: () => [config, deepConfig],
    read: (bytes) => parseImageConfig(bytes, digest, 2, platform),
  },
  {
    name: 'images-distribution-manifest',
    group: 'images',
    seeds: () => [manifest, index],
    read: (bytes) =>
      parseAnyManifest(bytes, 'application/vnd.oci.image.manifest.v1+json', {
        attempted: 'read a manifest',
        on: 'a',
      }),
  },
  {
    name: 'images-challenge',
    group: 'images',
    words: ['Bearer ', 'Basic ', 'realm=', 'service=', 'scope=', 'error=', '"', '\\"', ', '],
    seeds: () => [
      'Bearer realm="https://a.example/token",service="a",scope="repository:b:pull"',
      'Basic realm="a", Digest nonce=b',
    ],
    read: (bytes) => parseChallenges([bytes.toString('latin1')]),
  },
  {
    name: 'images-reference',
    group: 'images',
    words: ['docker.io/', 'library/', ':latest', '@sha256:', digest, '[::1]:5000/', '..', '__', '--'],
    seeds: () => ['docker.io/library/a:latest', `[::1]:5000/a/b__c@${digest}`, 'localhost:5000/a-b/c.d:t'],
    read: (bytes) => parseReference(bytes.toString()),
  },
];
