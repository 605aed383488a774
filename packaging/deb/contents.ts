import { gzipSync } from 'node:zlib';
import { filesBelow, textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import type { ManualPage } from '../man/pages.ts';
import type { BundledPackage } from '../notices.ts';
import { maintainer } from './control.ts';
import { copyright } from './copyright.ts';

const library = 'usr/lib/portcullis';
const documents = 'usr/share/doc/portcullis';

export interface ContentsInput {
  /** The package as packaging/package.ts lays it out. */
  readonly layout: string;
  /** Files of the pinned Node, and of the native part of koffi, by the names of their packages. */
  readonly packages: Readonly<Record<string, readonly PackageFile[]>>;
  readonly bundled: readonly BundledPackage[];
  readonly manuals: readonly ManualPage[];
  readonly completions: Readonly<Record<'bash' | 'zsh' | 'fish', string>>;
  /** Files beside the documents, such as SBOMs. */
  readonly documents: readonly PackageFile[];
  readonly version: string;
  /** Time of the release, in seconds since 1970. */
  readonly time: number;
}

/** Returns the files of the Debian package. */
export function debContents(input: ContentsInput): PackageFile[] {
  return [
    ...filesBelow(input.layout).flatMap(placed),
    ...platformFiles(input.packages),
    ...['portcullis', 'portcullisd'].map((name) => ({
      path: `usr/bin/${name}`,
      content: { target: `../lib/portcullis/packaging/bin/${name}` },
    })),
    ...input.manuals.map(({ path, text }) => zipped(`usr/share/man/${path}.gz`, text)),
    ...completionFiles(input.completions),
    // No preset of the distribution enables the services. Debian's systemd has the folder under this name:
    // with /usr before it, dpkg warns at each removal that the folder is not empty.
    textFile(
      'lib/systemd/system-preset/60-portcullis.preset',
      'disable portcullisd.service\ndisable portcullis-node.service\n',
    ),
    textFile('usr/share/lintian/overrides/portcullis', lintianOverrides(input.packages)),
    textFile(`${documents}/copyright`, copyright(input.bundled)),
    zipped(`${documents}/changelog.gz`, changelog(input.version, input.time)),
    ...input.documents.map(({ path, content }) => ({ path: `${documents}/${path}`, content })),
  ];
}

/** Returns where a file of the layout is installed. */
function placed({ path, content }: PackageFile): PackageFile[] {
  const [, service] = /^packaging\/systemd\/([^/]+\.service)$/u.exec(path) ?? [];
  if (service !== undefined) {
    const unit = unitOf(content);
    return [textFile(`lib/systemd/system/${service}`, unit), textFile(`${library}/${path}`, unit)];
  }
  // The text of Apache-2.0 is among the common licences of Debian, and the notices are in `copyright`.
  if (path === 'LICENSE' || path === 'THIRD-PARTY-NOTICES') return [];
  if (/^(?:docs\/|[^/]+\.md$)/u.test(path))
    return [{ path: `${documents}/${path}`, content: plain(content) }];
  // The folder says whether a file is a program.
  const isProgram = /^packaging\/(?:bin\/|ci\/shell\/|prepare$)/u.test(path);
  return [{ path: `${library}/${path}`, content: isProgram ? content : plain(content) }];
}

/** Returns a unit with the path of its program in this package, and the manual page of the daemon. */
function unitOf(content: PackageFile['content']): string {
  const text = 'bytes' in content ? Buffer.from(content.bytes).toString() : '';
  const changed = text
    .replace(/^ExecStart=\/usr\/local\/bin\//mu, 'ExecStart=/usr/bin/')
    .replace(/^Documentation=(?=http)/mu, 'Documentation=man:portcullisd(8) ')
    .replace(
      /^#.* The path of `portcullisd` depends on[^]*?\n(?=\[Unit\])/u,
      '# The container runtime of a Kubernetes node.\n',
    )
    .replace(/ The path of\n# `portcullis` depends on[^]*?\n(?=\[Unit\])/u, '\n');
  return changed;
}

/** Returns the files of the packages of a platform, where the bundle finds them. */
export function platformFiles(packages: ContentsInput['packages']): PackageFile[] {
  return Object.entries(packages).flatMap(([name, files]) =>
    files
      .filter(({ path }) => isNeeded(name, path))
      .map(({ path, content }) => ({
        path: `${library}/node_modules/${name}/${path}`,
        content: modeOf(path, content),
      })),
  );
}

/** The headers of Node and the build of koffi for musl run nothing here. */
function isNeeded(name: string, path: string): boolean {
  if (name.startsWith('node-linux-')) return /^(?:bin\/node|package\.json)$/u.test(path);
  return /^(?:index\.js|package\.json|linux_[a-z0-9]+\/koffi\.node)$/u.test(path);
}

function modeOf(path: string, content: PackageFile['content']): PackageFile['content'] {
  return 'bytes' in content ? { ...content, executable: path === 'bin/node' } : content;
}

function plain(content: PackageFile['content']): PackageFile['content'] {
  return 'bytes' in content ? { ...content, executable: false } : content;
}

function completionFiles(texts: ContentsInput['completions']): PackageFile[] {
  const bash = 'usr/share/bash-completion/completions';
  return [
    textFile(`${bash}/portcullis`, texts.bash),
    { path: `${bash}/portcullisd`, content: { target: 'portcullis' } },
    textFile('usr/share/zsh/vendor-completions/_portcullis', texts.zsh),
    textFile('usr/share/fish/vendor_completions.d/portcullis.fish', texts.fish),
    { path: 'usr/share/fish/vendor_completions.d/portcullisd.fish', content: { target: 'portcullis.fish' } },
  ];
}

function zipped(path: string, text: string): PackageFile {
  // zlib writes no time and no name into the header.
  return { path, content: { bytes: gzipSync(text, { level: 9 }), executable: false } };
}

/** Node is shipped as its publisher built it, so that its bytes can be compared. */
function lintianOverrides(packages: ContentsInput['packages']): string {
  const node = Object.keys(packages).find((name) => name.startsWith('node-linux-')) ?? '';
  const program = `[${library}/node_modules/${node}/bin/node]`;
  return `# The pinned Node is shipped as its publisher built it: its bytes are those that the lock file of the sources pins.
portcullis: embedded-library * ${program}
portcullis: unstripped-binary-or-object ${program}
portcullis: hardening-no-pie ${program}
# An address in the licence texts of libraries that Node contains. The texts are quoted as they are.
portcullis: old-fsf-address-in-copyright-file
# prerm reads which services run. It stops them with deb-systemd-invoke.
portcullis: maintainer-script-calls-systemctl [prerm:*]
`;
}

function changelog(version: string, time: number): string {
  const [day, date, month, year, clock] = new Date(time * 1000).toUTCString().replace(',', '').split(' ');
  return `portcullis (${version}) stable; urgency=medium

  * Release ${version}.

 -- ${maintainer}  ${day ?? ''}, ${date ?? ''} ${month ?? ''} ${year ?? ''} ${clock ?? ''} +0000
`;
}
