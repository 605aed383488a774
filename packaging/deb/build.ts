import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { arOf } from '../archives/ar.ts';
import { textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import { tarOf } from '../archives/tar.ts';
import { control } from './control.ts';
import type { Architecture } from './control.ts';

const scripts = ['postinst', 'prerm', 'postrm'];

/** The highest level needs several times the time for less than 1 % of the size. */
const compressionLevel = 6;

export interface DebInput {
  readonly files: readonly PackageFile[];
  readonly version: string;
  readonly architecture: Architecture;
  readonly depends: readonly string[];
  /** Time of the release, in seconds since 1970. */
  readonly time: number;
  /** Level of gzip. Default: that of a release. */
  readonly level?: number | undefined;
}

/**
 * Writes a Debian package (deb(5), format 2.0). zlib is that of the pinned Node, so the bytes do not depend
 * on the tools of the machine. Every dpkg reads gzip, also those that do not read zstd.
 */
export async function debOf({
  files,
  version,
  architecture,
  depends,
  time,
  level = compressionLevel,
}: DebInput): Promise<Buffer> {
  const tar = { time, prefix: './', folders: true };
  const sizes = files.map(({ content }) => ('bytes' in content ? Math.ceil(content.bytes.length / 1024) : 1));
  const installedSize = sizes.reduce((sum, size) => sum + size, 0);
  const controlFiles = [
    textFile('control', control({ version, architecture, depends, installedSize })),
    textFile('md5sums', sums(files)),
    ...scripts.map((name) =>
      textFile(name, readFileSync(join(import.meta.dirname, 'scripts', name), 'utf8'), true),
    ),
  ];
  return arOf(
    [
      { name: 'debian-binary', bytes: Buffer.from('2.0\n') },
      {
        name: 'control.tar.gz',
        bytes: gzipSync(await tarOf(controlFiles, tar), { level }),
      },
      { name: 'data.tar.gz', bytes: gzipSync(await tarOf(files, tar), { level }) },
    ],
    time,
  );
}

/** `md5sums` of deb-md5sums(5): dpkg --verify reads it. Signatures use SHA-256. */
function sums(files: readonly PackageFile[]): string {
  return files
    .flatMap(({ path, content }) =>
      'bytes' in content ? [`${createHash('md5').update(content.bytes).digest('hex')}  ${path}\n`] : [],
    )
    .sort()
    .join('');
}
