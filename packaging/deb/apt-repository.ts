import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { Readable } from 'node:stream';
import { compare, textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';

export interface DebFile {
  /** Such as `portcullis_0.1.0_amd64.deb`. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

const suite = 'stable';
const component = 'main';

/** Largest control archive that is read. */
const maxControlBytes = 16 * 1024 * 1024;

/**
 * Returns the files of an apt repository with these packages: `pool/`, and the indices of `dists/stable`,
 * also by their hash so that an update never sees a mixture of two releases (Debian's repository format,
 * "Acquire-By-Hash").
 * @param time time of the release, in seconds since 1970
 * @throws Error if a file is not a Debian package
 */
export async function aptRepository(debs: readonly DebFile[], time: number): Promise<PackageFile[]> {
  const described = await Promise.all(debs.map(describe));
  const architectures = [...new Set(described.map(({ architecture }) => architecture))].sort(compare);
  const indices = architectures.flatMap((architecture) => {
    const text = described
      .filter((one) => one.architecture === architecture)
      .map(({ stanza }) => stanza)
      .sort(compare)
      .join('\n');
    const folder = `${component}/binary-${architecture}`;
    return [
      { path: `${folder}/Packages`, bytes: Buffer.from(text) },
      { path: `${folder}/Packages.gz`, bytes: gzipSync(text, { level: 9 }) },
    ];
  });
  return [
    ...described.map(({ path, bytes }) => ({ path, content: { bytes, executable: false } })),
    ...indices.flatMap(({ path, bytes }) => {
      const content = { bytes, executable: false };
      const folder = path.replace(/[^/]+$/u, '');
      return [
        { path: `dists/${suite}/${path}`, content },
        { path: `dists/${suite}/${folder}by-hash/SHA256/${sha256(bytes)}`, content },
      ];
    }),
    textFile(
      `dists/${suite}/Release`,
      `Origin: Portcullis
Label: Portcullis
Suite: ${suite}
Codename: ${suite}
Date: ${new Date(time * 1000).toUTCString().replace('GMT', 'UTC')}
Acquire-By-Hash: yes
Architectures: ${architectures.join(' ')}
Components: ${component}
Description: Packages of Portcullis
SHA256:
${indices.map(({ path, bytes }) => ` ${sha256(bytes)} ${bytes.length} ${path}\n`).join('')}`,
    ),
  ];
}

async function describe({ name, bytes }: DebFile): Promise<{
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly architecture: string;
  readonly stanza: string;
}> {
  const control = await controlOf(name, bytes);
  const architecture = /^Architecture: (\S+)$/mu.exec(control)?.[1];
  if (architecture === undefined) throw new Error(`${name} names no architecture`);
  const path = `pool/${component}/p/portcullis/${name}`;
  const stanza = `${control.trimEnd()}\nFilename: ${path}\nSize: ${bytes.length}\nSHA256: ${sha256(bytes)}\n`;
  return { path, bytes, architecture, stanza };
}

/** Returns the file `control` of a package with an archive `control.tar.gz`. */
async function controlOf(name: string, bytes: Uint8Array): Promise<string> {
  const archive = memberOf(Buffer.from(bytes), 'control.tar.gz');
  if (archive === undefined) throw new Error(`${name} is not a Debian package with a control.tar.gz`);
  const reader = extract();
  Readable.from([gunzipSync(archive, { maxOutputLength: maxControlBytes })]).pipe(reader);
  let control: string | undefined;
  for await (const entry of reader) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk);
    if (/^(?:\.\/)?control$/u.test(entry.header.name)) control = Buffer.concat(chunks).toString();
  }
  if (control === undefined) throw new Error(`${name} has no file control`);
  return control;
}

function memberOf(archive: Buffer, wanted: string): Buffer | undefined {
  const headerBytes = 60;
  for (let at = '!<arch>\n'.length; at + headerBytes <= archive.length;) {
    const header = archive.toString('latin1', at, at + headerBytes);
    const size = Number(header.slice(48, 58));
    if (!Number.isSafeInteger(size)) return undefined;
    const start = at + headerBytes;
    if (header.slice(0, 16).replace(/\/? *$/u, '') === wanted) return archive.subarray(start, start + size);
    at = start + size + (size % 2);
  }
  return undefined;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
