import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Metafile } from 'esbuild';

const root = join(import.meta.dirname, '..');

/** A package of which the bundle contains code or data. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** The SPDX expression of its package.json. */
  readonly license: string;
  /** The whole text of its licences and notices. Empty if none is known. */
  readonly text: string;
}

/**
 * SPDX ids of the licences that a bundled package may have: all of them permit shipping the package with its
 * text.
 */
export const allowedLicenses: readonly string[] = [
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
];

const apache = join(root, 'LICENSE');

/**
 * Files that complete the texts of a package, by its name: where its published files lack a text, or where it
 * contains code of another project. The text of Apache-2.0 is the same for all owners.
 */
const furtherTexts: Readonly<Record<string, readonly string[]>> = {
  '@bufbuild/cel': [apache],
  '@bufbuild/cel-spec': [apache],
  '@bufbuild/protobuf': [apache, join(root, 'packaging/licenses/protobuf.txt')],
  undici: [join(root, 'packaging/licenses/llhttp.txt')],
};

/** Returns whether each licence of an SPDX expression is allowed. */
export function isAllowed(expression: string): boolean {
  const ids = expression
    .split(/\bAND\b|\bOR\b|[()]/u)
    .flatMap((part) => (part.trim() === '' ? [] : [part.trim()]));
  return ids.length > 0 && ids.every((id) => allowedLicenses.includes(id));
}

/**
 * Returns the packages of which the outputs of a bundle contain something, sorted by name and version.
 * Packages are found by what esbuild wrote, so a package that the lock file lists but nothing imports is not
 * among them.
 * @param folder the folder that the paths of `metafile` are relative to
 */
export function bundledPackages(metafile: Metafile, folder: string = root): BundledPackage[] {
  const inputs = Object.values(metafile.outputs).flatMap((output) =>
    Object.entries(output.inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
  );
  const sources = new Map<string, Set<string>>();
  for (const path of inputs) {
    const owner = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/u.exec(path)?.[0];
    if (owner !== undefined) sources.set(owner, (sources.get(owner) ?? new Set<string>()).add(dirname(path)));
  }
  return [...sources]
    .map(([owner, within]) => describePackage(folder, owner, within))
    .sort((a, b) => compare(a.name, b.name) || compare(a.version, b.version));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Describes the package in `owner`. Its texts are those of its folder, and of each folder between that and
 * the bundled sources: a part that was taken from another project has its licence beside it.
 */
function describePackage(base: string, owner: string, within: ReadonlySet<string>): BundledPackage {
  const manifest = JSON.parse(readFileSync(join(base, owner, 'package.json'), 'utf8')) as {
    readonly name: string;
    readonly version: string;
    readonly license?: string;
  };
  const folders = new Set([owner]);
  for (const source of within)
    for (let at = source; at.length > owner.length; at = dirname(at)) folders.add(at);
  const own = [...folders].sort().flatMap((folder) =>
    readdirSync(join(base, folder), { withFileTypes: true })
      .filter(
        (entry) =>
          entry.isFile() &&
          /^(?:licen[cs]e|copying|notice)(?:[.-](?:md|txt|mit|apache|bsd))?$/iu.test(entry.name),
      )
      .map(({ name }) => join(base, folder, name))
      .sort(),
  );
  const files = [...own, ...(furtherTexts[manifest.name] ?? [])].filter((file) => existsSync(file));
  const text = files.map((file) => readFileSync(file, 'utf8').trim()).join('\n\n');
  return { name: manifest.name, version: manifest.version, license: manifest.license ?? '', text };
}

/**
 * Returns the text of THIRD-PARTY-NOTICES: the name, version, licence and full licence text of each package.
 * Throws if a package has no text, or a licence that is not allowed: such a package cannot be shipped.
 */
export function notices(packages: readonly BundledPackage[]): string {
  const problems = packages.flatMap(({ name, version, license, text }) => [
    ...(isAllowed(license)
      ? []
      : [
          `${name} ${version} has the licence ${JSON.stringify(license)}, which packaging/notices.ts does not allow`,
        ]),
    ...(text === ''
      ? [`${name} ${version} has no licence text; add one to packaging/licenses and packaging/notices.ts`]
      : []),
  ]);
  if (problems.length > 0)
    throw new Error(`the notices of bundled packages are incomplete:\n  ${problems.join('\n  ')}`);
  const rule = '='.repeat(80);
  const parts = packages.map(
    ({ name, version, license, text }) => `${rule}\n${name} ${version}\nLicence: ${license}\n\n${text}\n`,
  );
  return `Portcullis contains code of the packages below, under the licences below.\n\n${parts.join('\n')}`;
}
