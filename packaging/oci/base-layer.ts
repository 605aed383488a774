import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import { compare, textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import type { Architecture } from '../deb/control.ts';
import { contentOf, fetchDebs, fieldsOf } from './debian-packages.ts';

/** No user of a node has this number by default. It is the one that images without a shell commonly use. */
export const user = 65532;

/**
 * Files that are taken from the packages: libraries, the name of the system, licences, CA certificates. No
 * program is taken.
 */
const needed = [
  /^usr\/lib(?:64)?\/(?:[a-z0-9_]+-linux-gnu\/)?[^/]+\.so(?:\.[0-9.]+)?$/u,
  /^usr\/lib\/os-release$|^etc\/(?:os-release|debian_version)$/u,
  /^usr\/share\/doc\/[^/]+(?:\/copyright)?$/u,
  /^usr\/share\/common-licenses\/[^/]+$/u,
  /^usr\/share\/ca-certificates\/mozilla\/[^/]+\.crt$/u,
];

const isNeeded = (path: string): boolean => needed.some((pattern) => pattern.test(path));

/**
 * Returns the files of Debian that Node needs, with the records by which scanners find the packages
 * (`/var/lib/dpkg/status.d`, as images without dpkg have them).
 * @throws Error if a package cannot be fetched, or differs from the recorded one
 */
export async function baseFiles(architecture: Architecture): Promise<PackageFile[]> {
  const files: PackageFile[] = [];
  for (const { deb, file } of fetchDebs(architecture)) {
    files.push(...(await filesOf(contentOf(file))));
    const names = ['Package', 'Version', 'Architecture', 'Maintainer', 'Source'];
    const values = fieldsOf(file, ...names);
    const record = names.flatMap((name, index) =>
      values[index] === '' ? [] : [`${name}: ${values[index] ?? ''}\n`],
    );
    files.push(textFile(`var/lib/dpkg/status.d/${deb.name}`, record.join('')));
  }
  return [
    ...withAuthorities(files),
    textFile(
      'etc/passwd',
      `root:x:0:0:root:/:/sbin/nologin\nnonroot:x:${user}:${user}:nonroot:/:/sbin/nologin\n`,
    ),
    textFile('etc/group', `root:x:0:\nnonroot:x:${user}:\n`),
    textFile('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n'),
    // Debian 12 has one folder for libraries.
    { path: 'lib', content: { target: 'usr/lib' } },
    ...(files.some(({ path }) => path.startsWith('usr/lib64/'))
      ? [{ path: 'lib64', content: { target: 'usr/lib64' } }]
      : []),
  ];
}

const authorities = 'usr/share/ca-certificates/';

/** Replaces the certificates of Debian's package ca-certificates by the one file that programs read. */
export function withAuthorities(files: readonly PackageFile[]): PackageFile[] {
  const certificates = files
    .filter(({ path }) => path.startsWith(authorities))
    .sort((a, b) => compare(a.path, b.path))
    .map(({ content }) => ('bytes' in content ? `${Buffer.from(content.bytes).toString().trim()}\n` : ''));
  return [
    ...files.filter(({ path }) => !path.startsWith(authorities)),
    textFile('etc/ssl/certs/ca-certificates.crt', certificates.join('')),
  ];
}

/**
 * Returns files of the content of a .deb, where they are on a system with merged folders (Debian 12): `/lib`,
 * `/bin` and `/sbin` are links to folders in `/usr`.
 * @param isWanted whether a file is returned
 */
export async function filesOf(
  archive: Buffer,
  isWanted: (path: string) => boolean = isNeeded,
): Promise<PackageFile[]> {
  const files: PackageFile[] = [];
  const reader = extract();
  Readable.from([archive]).pipe(reader);
  for await (const entry of reader) {
    const { name, type, mode, linkname } = entry.header;
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const path = posix.normalize(name).replace(/^(?=(?:lib(?:64)?|s?bin)\/)/u, 'usr/');
    if (!isWanted(path)) continue;
    if (type === 'file')
      files.push({ path, content: { bytes: Buffer.concat(chunks), executable: (mode & 0o111) !== 0 } });
    else if (type === 'symlink' && typeof linkname === 'string')
      files.push({ path, content: { target: linkname.replace(/^\/lib/u, '/usr/lib') } });
  }
  return files;
}
