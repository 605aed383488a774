import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import manifest from '../../package.json' with { type: 'json' };
import { commands } from '../../cli/commands.ts';
import { completions } from '../../cli/completion/shells.ts';
import { commandTree } from '../../cli/completion/tree.ts';
import { filesBelow, textFile } from '../archives/files.ts';
import type { PackageFile } from '../archives/files.ts';
import { lockedPackages, npmPackage } from '../archives/npm-package.ts';
import { tarOf } from '../archives/tar.ts';
import { debOf } from '../deb/build.ts';
import { debContents } from '../deb/contents.ts';
import { architectures, dependencies } from '../deb/control.ts';
import type { Architecture } from '../deb/control.ts';
import { manualPages } from '../man/pages.ts';
import { bundledPackages } from '../notices.ts';
import type { BundledPackage } from '../notices.ts';
import { isWholeProgram } from '../whole-programs.ts';
import { layOut } from '../package.ts';
import type { BuiltBundle } from '../package.ts';
import { componentsOf, npmPurl } from '../sbom/components.ts';
import { cyclonedxOf } from '../sbom/cyclonedx.ts';
import { spdxOf } from '../sbom/spdx.ts';
import { platformPackages } from './platform.ts';

const root = join(import.meta.dirname, '../..');
const { version, description } = manifest;

export interface ReleaseOptions {
  /** Whether the package of npm contains declarations of types, which take most of the time. */
  readonly types: boolean;
  readonly architectures?: readonly Architecture[];
  /** A bundle of the same sources. Without it, one is built. */
  readonly built?: BuiltBundle | undefined;
  /** Level of gzip of the Debian packages. Default: that of a release. Tests compress less. */
  readonly level?: number;
}

interface ReleaseFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Builds the files of a release into `folder`: a .deb for each architecture, the package of npm, and beside
 * each its SBOM as SPDX and as CycloneDX. The same commit gives the same bytes on every machine.
 * @returns names of the files
 * @throws Error if something cannot be built, or if a package differs from what the lock file pins
 */
export async function buildArtifacts(folder: string, options: ReleaseOptions): Promise<readonly string[]> {
  const work = mkdtempSync(join(tmpdir(), 'pc-release-'));
  try {
    mkdirSync(folder, { recursive: true });
    const layout = join(work, 'package');
    const { types, built } = options;
    const bundled = bundledPackages(await layOut(layout, { types, isWhole: true, built }));
    const names: string[] = [];
    const write = (files: readonly ReleaseFile[]): void => {
      for (const { name, bytes } of files) {
        writeFileSync(join(folder, name), bytes);
        names.push(name);
      }
    };
    for (const architecture of options.architectures ?? architectures)
      write(await debFiles(layout, bundled, architecture, options.level));
    write(await npmFiles(layout, bundled));
    return names;
  } finally {
    rmSync(work, { recursive: true });
  }
}

/**
 * Returns the time of the release in seconds since 1970: SOURCE_DATE_EPOCH, else the time of the commit.
 * @throws Error if the sources are not a checkout of git and the variable is not set
 */
export function releaseTime(): number {
  const given = process.env['SOURCE_DATE_EPOCH'];
  const text =
    given ?? spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' }).stdout;
  if (/^\d{1,12}$/u.test(text.trim())) return Number(text);
  throw new Error(
    'the time of the release is unknown: build from a checkout of git, or set SOURCE_DATE_EPOCH',
  );
}

async function debFiles(
  layout: string,
  inBundle: readonly BundledPackage[],
  architecture: Architecture,
  level: number | undefined,
): Promise<ReleaseFile[]> {
  const time = releaseTime();
  const tree = await commandTree(commands);
  const packages = await filesOfPlatform(architecture);
  const bundled = [...inBundle, ...describedPlatform(packages)];
  const boms = sboms(`pkg:deb/debian/portcullis@${version}?arch=${architecture}`, bundled);
  const date = new Date(time * 1000).toISOString().slice(0, 10);
  const files = debContents({
    layout,
    packages,
    bundled,
    manuals: manualPages(tree, { version, description, date }),
    completions: { bash: completions.bash(tree), zsh: completions.zsh(tree), fish: completions.fish(tree) },
    documents: boms.map(({ form, text }) => textFile(`sbom.${form}.json`, text)),
    version,
    time,
  });
  const bytes = await debOf({ files, version, architecture, depends: dependencies(root), time, level });
  const name = `portcullis_${version}_${architecture}`;
  return [{ name: `${name}.deb`, bytes }, ...beside(name, boms)];
}

async function npmFiles(layout: string, inBundle: readonly BundledPackage[]): Promise<ReleaseFile[]> {
  const locked = lockedPackages(root);
  const platform = architectures.flatMap(platformPackages).map((name) => {
    const { version: pinned = '', license = '' } = locked[`node_modules/${name}`] ?? {};
    return { name, version: pinned, license };
  });
  const boms = sboms(npmPurl(manifest.name, version), [...inBundle, ...platform]);
  const product = filesBelow(layout).filter(({ path }) => !isWholeProgram(path.replace(/^dist\//u, '')));
  const files = [...product, ...boms.map(({ form, text }) => textFile(`sbom.${form}.json`, text))];
  const name = `portcullis-${version}`;
  return [{ name: `${name}.tgz`, bytes: await npmArchive(files) }, ...beside(name, boms)];
}

interface Bom {
  readonly form: 'spdx' | 'cdx';
  readonly text: string;
}

/** Returns the SBOM of a package in both forms. */
function sboms(purl: string, bundled: readonly Omit<BundledPackage, 'text'>[]): readonly Bom[] {
  const { name, license } = manifest;
  const subject = { name, version, license, description, purl, time: releaseTime() };
  const components = componentsOf(bundled, lockedPackages(root));
  return [
    { form: 'spdx', text: spdxOf(subject, components) },
    { form: 'cdx', text: cyclonedxOf(subject, components) },
  ];
}

function beside(name: string, boms: readonly Bom[]): ReleaseFile[] {
  return boms.map(({ form, text }) => ({ name: `${name}.${form}.json`, bytes: Buffer.from(text) }));
}

/** Returns the files of the pinned Node and of the native part of koffi for an architecture. */
export async function filesOfPlatform(
  architecture: Architecture,
): Promise<Readonly<Record<string, readonly PackageFile[]>>> {
  const names = platformPackages(architecture);
  const files = await Promise.all(names.map((name) => npmPackage(root, name)));
  return Object.fromEntries(names.map((name, index) => [name, files[index] ?? []]));
}

/** Returns the licences of packages that are shipped beside the bundle. */
function describedPlatform(packages: Readonly<Record<string, readonly PackageFile[]>>): BundledPackage[] {
  const koffi = readFileSync(join(root, 'node_modules/koffi/LICENSE.txt'), 'utf8').trim();
  return Object.entries(packages).map(([name, files]) => {
    const { version: pinned = '', license = '' } = lockedPackages(root)[`node_modules/${name}`] ?? {};
    const own = files.find(({ path }) => path === 'LICENSE')?.content;
    // The native part has the licence of koffi, but no separate licence text.
    const text = own !== undefined && 'bytes' in own ? Buffer.from(own.bytes).toString() : koffi;
    if (text === '') throw new Error(`${name} ${pinned} has no licence text`);
    return { name, version: pinned, license, text };
  });
}

/** Returns the package of npm. The time of its files is the one that npm itself writes. */
async function npmArchive(files: readonly PackageFile[]): Promise<Buffer> {
  const npmTime = Date.UTC(1985, 9, 26, 8, 15) / 1000;
  return gzipSync(await tarOf(files, { time: npmTime, prefix: 'package/', folders: false }), { level: 9 });
}
