/**
 * The layers inside each module (`layers.json`, from the lowest one up): a folder may import only from layers
 * below its own. `.dependency-cruiser.cjs` makes one import rule of each layer. `npm run imports:update`
 * writes the line "May import" of each README from the layers and from the imports that the folder has; a
 * test compares both.
 */
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { readEntryPoints } from './entry-points.ts';
import { productModules, readImports, testCode } from './imports.ts';

/**
 * The folders of each layer, from the lowest layer up. `MODULE/<root>` is a module's own files without its
 * index.ts.
 */
export type Layers = Readonly<Record<string, readonly (readonly string[])[]>>;

export const layersFile = new URL('layers.json', import.meta.url);

/** Returns the layers that are written down. */
export const readLayers = (): Layers => JSON.parse(readFileSync(layersFile, 'utf8')) as Layers;

const entryPoints = new Set(readEntryPoints().filter((entryPoint) => entryPoint.endsWith('/index.ts')));

/**
 * Returns the folder that a file belongs to, or undefined for an `index.ts` that is an entry point of a
 * module: it is above all layers.
 */
export function folderOf(path: string): string | undefined {
  if (entryPoints.has(path)) return undefined;
  const folder = dirname(path);
  return productModules.includes(folder) ? `${folder}/<root>` : folder;
}

/** Returns the folders of a module that have files of the product. */
export function foldersOf(module: string): string[] {
  const files = globSync(`${module}/**/*.ts`).filter(
    (path) => !new RegExp(testCode).test(path) && !path.endsWith('.d.ts'),
  );
  const folders = files.map(folderOf).filter((folder) => folder !== undefined);
  return [...new Set(folders)].sort();
}

/** Returns for each folder what its files import: folders of the modules, and packages. */
export async function importsOfFolders(): Promise<
  Map<string, { folders: Set<string>; packages: Set<string> }>
> {
  const found = new Map<string, { folders: Set<string>; packages: Set<string> }>();
  for (const { source, dependencies } of await readImports()) {
    const folder = productModules.includes(source.split('/')[0] ?? '') ? folderOf(source) : undefined;
    if (folder === undefined) continue;
    const imports = found.get(folder) ?? { folders: new Set(), packages: new Set() };
    found.set(folder, imports);
    for (const { resolved, coreModule, couldNotResolve } of dependencies) {
      if (coreModule || couldNotResolve) continue;
      const inPackages = resolved.lastIndexOf('node_modules/');
      if (inPackages !== -1)
        imports.packages.add(packageOf(resolved.slice(inPackages + 'node_modules/'.length)));
      else if (resolved.endsWith('.ts') && folderOf(resolved) !== folder)
        imports.folders.add(folderOf(resolved) ?? dirname(resolved));
    }
  }
  return found;
}

function packageOf(path: string): string {
  const [first = '', second = ''] = path.split('/');
  return first === '@types' ? second : first.startsWith('@') ? `${first}/${second}` : first;
}

/** Returns the paragraph of a folder's README on its imports. */
export function paragraphOf(
  folder: string,
  layers: Layers,
  imports: { folders: Set<string>; packages: Set<string> },
): string {
  const module = folder.split('/')[0] ?? '';
  const own = layers[module] ?? [];
  const layer = own.findIndex((folders) => folders.includes(folder)) + 1;
  const names = [...imports.folders]
    .sort()
    .map((name) => `\`${name.endsWith('/<root>') ? `${name.slice(0, -'/<root>'.length)}/*.ts` : name}\``);
  const packages = [...imports.packages].sort().map((name) => `\`${name}\``);
  const all = [...names, ...packages];
  const about = folder.endsWith('/<root>') ? 'The files beside this one: layer' : 'Layer';
  return wrap(
    `${about} ${layer} of ${own.length} in ${module}. May import: ${all.length === 0 ? 'only Node' : all.join(', ')}.`,
  );
}

/** Breaks a text into lines of at most 110 columns. */
function wrap(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > 110) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines.join('\n');
}

const paragraph =
  /^(?:The files beside this one: l|L)ayer \d+ of \d+ in [a-z-]+\. May import: [^]*?(?=\n\n|\n*$(?![^]))/mu;

/** Returns the text of a README with the paragraph on imports replaced, or added at its end. */
export const withParagraph = (readme: string, text: string): string =>
  paragraph.test(readme) ? readme.replace(paragraph, () => text) : `${readme.trimEnd()}\n\n${text}\n`;

/** Returns the README of each folder as it should be, by its path. A folder without a README is left out. */
export async function readmesOfFolders(): Promise<Map<string, string>> {
  const layers = readLayers();
  const texts = new Map<string, string>();
  for (const [folder, imports] of await importsOfFolders()) {
    const path = join(folder.replace('/<root>', ''), 'README.md');
    if (existsSync(path))
      texts.set(path, withParagraph(readFileSync(path, 'utf8'), paragraphOf(folder, layers, imports)));
  }
  return texts;
}

if (
  process.argv[1] !== undefined &&
  import.meta.filename === process.argv[1] &&
  process.argv[2] === '--update'
) {
  for (const [path, text] of await readmesOfFolders())
    if (readFileSync(path, 'utf8') !== text) writeFileSync(relative('.', path), text);
}
