import type { Command } from 'commander';
import { glob, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { PortcullisError, fileReason } from '../base/errors/index.ts';
import { readGivenFile } from '../base/files/index.ts';
import { append } from '../base/lists/index.ts';
import { hostFoldersOf, importConfiguration, importsOf, kindOfToml } from '../runtime/index.ts';
import type { Imported, ImportSource } from '../runtime/index.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly output: OutputFormat;
}

const examples = `
These files are read as well: the imports and the folders of hosts.toml that a config.toml names, the folder crio.conf.d beside a crio.conf, and the
folder registries.conf.d beside a registries.conf. Comments list what was left out.

Exit status: 0 everything was converted or applies without a setting; 1 something was left out: read the comments; 2 wrong use or a file that cannot be
read; 4 it failed.

Examples:
  $ portcullis config import /etc/containerd/config.toml > config.yaml
  $ portcullis config import /etc/crio/crio.conf /etc/containers/registries.conf --output json`;

export function register(program: Command): void {
  const config = program
    .command('config')
    .description('convert the configuration of another runtime to one for Portcullis');
  withOutput(
    config
      .command('import')
      .description(
        'print a config.yaml equivalent to a configuration of containerd, CRI-O or registries.conf, and what was left out and why',
      )
      .argument(
        '<path...>',
        "containerd's config.toml, a hosts.toml, CRI-O's crio.conf, a registries.conf, or a folder such as /etc/crio/crio.conf.d or /etc/containerd/certs.d",
      ),
  )
    .addHelpText('after', examples)
    .action((paths: readonly string[], flags: Flags) => run(flags.output, () => importFiles(paths, flags)));
}

async function importFiles(paths: readonly string[], flags: Flags): Promise<number> {
  let sources: ImportSource[] = [];
  const absent: Imported['findings'][number][] = [];
  for (const path of paths) {
    const found = await sourcesAt(path);
    if (found.length === 0) {
      // Packages create empty folders for drop-ins and hosts, which scripts name beside the files.
      if ((await readdir(path)).length > 0) throw nothingIn(path);
      absent.push({ file: path, key: '', outcome: 'inherent', note: 'the folder is empty' });
    }
    append(sources, found);
  }
  if (sources.length === 0) throw nothingIn(paths.join(' '));
  const imported = await withImports(sources);
  append(absent, imported.absent);
  sources = await withDropIns(imported.sources);
  for (const { text, file, kind } of [...sources]) {
    if (kind !== 'containerd') continue;
    const folders = hostFoldersOf(text, file);
    append(sources, await hostsIn(folders));
    for (const folder of folders) if (!(await exists(folder))) absent.push(absentFolder(file, folder));
  }
  const converted = importConfiguration(sources);
  const result = { ...converted, findings: [...converted.findings, ...absent] };
  print(flags.output, result, asYaml(result));
  return result.findings.some(({ outcome }) => outcome === 'left') ? exitCodes.no : exitCodes.yes;
}

/** A configuration that was copied from its node names folders that this machine lacks. */
function absentFolder(file: string, folder: string): Imported['findings'][number] {
  const note = `${folder} does not exist on this machine: nothing was imported from it`;
  return { file, key: 'registry.config_path', outcome: 'inherent', note };
}

/**
 * Adds the files that containerd's files import, in the order in which containerd loads them. `absent`: the
 * patterns that match no file.
 */
async function withImports(sources: readonly ImportSource[]): Promise<{
  readonly sources: ImportSource[];
  readonly absent: Imported['findings'][number][];
}> {
  const all = [...sources];
  const absent: Imported['findings'][number][] = [];
  const seen = new Set(all.map(({ file }) => resolve(file)));
  // The list grows while it is read: imported files can import more files.
  for (const { kind, text, file } of all) {
    for (const named of kind === 'containerd' ? importsOf(text, file) : []) {
      const path = resolve(dirname(file), named);
      const found: string[] = [];
      if (path.includes('*')) for await (const each of glob(path)) found.push(each);
      else found.push(path);
      if (found.length === 0)
        absent.push({ file, key: 'imports', outcome: 'inherent', note: `no file matches ${path}` });
      for (const each of found.sort()) {
        if (!seen.has(each)) all.push({ ...(await sourceOf(each, undefined)), kind });
        seen.add(each);
      }
    }
  }
  return { sources: all, absent };
}

/** Returns the settings of each registry: containerd only reads those of the first folder that has some. */
async function hostsIn(folders: readonly string[]): Promise<ImportSource[]> {
  const all = new Map<string, ImportSource>();
  for (const folder of folders) {
    const found = new Map(
      (await sourcesAt(folder, true)).map((source) => [source.host ?? source.file, source]),
    );
    for (const [host, source] of found) if (!all.has(host)) all.set(host, source);
  }
  return [...all.values()];
}

/** Files whose drop-ins are in the folder `FILE.d`. */
const withFolder: Readonly<Partial<Record<ImportSource['kind'], string>>> = {
  registries: 'registries.conf',
  crio: 'crio.conf',
};

/**
 * Adds the drop-ins of each registries.conf and crio.conf behind it. A file that was also named is read once,
 * at its last place, because a later file replaces what an earlier one says.
 */
async function withDropIns(sources: readonly ImportSource[]): Promise<ImportSource[]> {
  const all: ImportSource[] = [];
  for (const source of sources) {
    all.push(source);
    if (basename(source.file) === withFolder[source.kind])
      append(all, await sourcesAt(`${source.file}.d`, true));
  }
  const places = await Promise.all(all.map(({ file }) => realpath(file).catch(() => file)));
  return all.filter(
    ({ kind }, at) => withFolder[kind] === undefined || places.lastIndexOf(places[at] ?? '') === at,
  );
}

function asYaml({ settings, findings }: Imported): string {
  const comments = (outcome: string, title: string): string => {
    const lines = findings
      .filter((finding) => finding.outcome === outcome)
      // A name with a line break must not become a line of the configuration.
      .map(
        ({ file, key, note }) =>
          `#   ${[file, key, note]
            .filter((part) => part !== '')
            .join(': ')
            .replaceAll(/[\r\n\u0085\u2028\u2029]+/gu, ' ')}`,
      );
    return lines.length === 0 ? '' : `\n# ${title}\n${lines.join('\n')}\n`;
  };
  const body =
    Object.keys(settings).length === 0 ? '' : stringify(settings, { lineWidth: 0, singleQuote: true });
  const text = `${body}${comments('left', 'Left out:')}${comments('inherent', 'Applies without a setting:')}`;
  return text === '' ? '# Nothing to import: the defaults of Portcullis apply.\n' : text;
}

/**
 * Reads a file, or the files of a folder in order of their names; in a folder of registries, each host's
 * hosts.toml.
 */
async function sourcesAt(path: string, optional = false): Promise<ImportSource[]> {
  const facts = await stat(path).catch((cause: unknown) => {
    // A folder that this user may not read could contain files that replace these settings.
    if (optional && (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unreadable(path, cause);
  });
  if (facts === undefined) return [];
  if (!facts.isDirectory()) return [await sourceOf(path, undefined)];
  const sources: ImportSource[] = [];
  const isCrio = /crio\.conf\.d\/*$/.test(path);
  // CRI-O reads the files of its folder whatever their names are.
  const settings = isCrio ? /^/ : /registries\.conf\.d\/*$/.test(path) ? /\.conf$/ : /\.(toml|conf)$/;
  for (const name of (await readdir(path)).sort()) {
    const inside = join(path, name);
    // The runtimes follow links, which configuration management often creates.
    const entry = await stat(inside).catch((cause: unknown) => {
      throw unreadable(inside, cause);
    });
    if (entry.isDirectory()) append(sources, await hostSources(inside, name));
    else if (settings.test(name)) {
      const source = await sourceOf(inside, undefined);
      sources.push(isCrio ? { ...source, kind: 'crio' } : source);
    }
  }
  return sources;
}

/**
 * Reads the folder of one registry. Without a hosts.toml, or with an empty one, containerd uses the
 * certificates in it, as docker does.
 */
async function hostSources(folder: string, name: string): Promise<ImportSource[]> {
  const hosts = join(folder, 'hosts.toml');
  const source = (await exists(hosts)) ? await sourceOf(hosts, name) : undefined;
  if (source !== undefined && source.text !== '') return [source];
  const files = (await readdir(folder)).sort();
  const pathOf = (file: string): string => resolve(folder, file);
  const ca = files.filter((file) => file.endsWith('.crt')).map(pathOf);
  const client = files
    .filter((file) => file.endsWith('.cert'))
    .map((file) => {
      const key = file.replace(/cert$/, 'key');
      return [pathOf(file), files.includes(key) ? pathOf(key) : ''];
    });
  const table = { ...(ca.length > 0 && { ca }), ...(client.length > 0 && { client }) };
  // A list of texts is written in TOML as in JSON.
  const lines = Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  if (lines.length === 0) return [];
  return [{ kind: 'hosts', file: folder, text: lines.join(''), host: hostOf(name) }];
}

/** containerd writes a port as HOST_PORT_ on file systems that do not allow colons. */
const hostOf = (folder: string): string => folder.replace(/_(\d+)_$/, ':$1');

async function sourceOf(file: string, host: string | undefined): Promise<ImportSource> {
  const bytes = await readGivenFile(file, mostBytes).catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  const text = bytes.toString('utf8');
  const folder = file.split('/').at(-2) ?? '';
  const kind = host === undefined ? kindOfToml(text, file) : 'hosts';
  return { kind, file, text, ...(kind === 'hosts' && { host: hostOf(host ?? folder) }) };
}

const mostBytes = 4 * 2 ** 20;

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function nothingIn(path: string): PortcullisError {
  return new PortcullisError({
    code: 'CONFIG_IMPORT_UNREADABLE',
    kind: 'invalid',
    attempted: 'read configuration',
    on: path,
    why: 'there is no configuration directly in this folder',
    fix: 'name a file, or the folder with the files, such as crio.conf.d, registries.conf.d or certs.d',
  });
}

function unreadable(path: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'CLI_FILE_UNREADABLE',
    kind: 'invalid',
    attempted: 'read',
    on: path,
    why: fileReason(cause, path),
    fix: 'name a readable file or folder',
    cause,
  });
}
