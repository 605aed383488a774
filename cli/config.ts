import type { Command } from 'commander';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { stringify } from 'yaml';
import { PortcullisError, fileReason } from '../base/errors/index.ts';
import { readGivenFile } from '../base/files/index.ts';
import { append } from '../base/lists/index.ts';
import { hostFoldersOf, importConfiguration, kindOfToml } from '../runtime/index.ts';
import type { Imported, ImportSource } from '../runtime/index.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly output: OutputFormat;
}

const examples = `
The folders of hosts.toml that a config.toml names are read as well, and the folder registries.conf.d beside a registries.conf. Comments list what was
left out.

Exit status: 0 everything was converted or applies without a setting; 1 something was left out: read the comments; 2 wrong use or a file that cannot be
read; 4 it failed.

Examples:
  $ portcullis config import /etc/containerd/config.toml > config.yaml
  $ portcullis config import /etc/crio/crio.conf /etc/crio/crio.conf.d /etc/containers/registries.conf --output json`;

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
  for (const path of paths) append(sources, await sourcesAt(path));
  sources = await withDropIns(sources);
  for (const { text, file, kind } of [...sources].filter((source) => source.kind === 'containerd')) {
    for (const folder of kind === 'containerd' ? hostFoldersOf(text, file) : [])
      append(sources, await sourcesAt(folder, true));
  }
  const imported = importConfiguration(sources);
  print(flags.output, imported, asYaml(imported));
  return imported.findings.some(({ outcome }) => outcome === 'left') ? exitCodes.no : exitCodes.yes;
}

/**
 * Adds the drop-ins of each registries.conf behind it. A file that was also named is read once, at its last
 * place, because a later file replaces what an earlier one says.
 */
async function withDropIns(sources: readonly ImportSource[]): Promise<ImportSource[]> {
  const all: ImportSource[] = [];
  for (const source of sources) {
    all.push(source);
    if (source.kind === 'registries' && basename(source.file) === 'registries.conf')
      append(all, await sourcesAt(`${source.file}.d`, true));
  }
  const places = await Promise.all(all.map(({ file }) => realpath(file).catch(() => file)));
  return all.filter(({ kind }, at) => kind !== 'registries' || places.lastIndexOf(places[at] ?? '') === at);
}

function asYaml({ settings, findings }: Imported): string {
  const comments = (outcome: string, title: string): string => {
    const lines = findings
      .filter((finding) => finding.outcome === outcome)
      // A name with a line break must not become a line of the configuration.
      .map(
        ({ file, key, note }) =>
          `#   ${`${file}: ${key}: ${note}`.replaceAll(/[\r\n\u0085\u2028\u2029]+/gu, ' ')}`,
      );
    return lines.length === 0 ? '' : `\n# ${title}\n${lines.join('\n')}\n`;
  };
  const body =
    Object.keys(settings).length === 0 ? '' : stringify(settings, { lineWidth: 0, singleQuote: true });
  return `${body}${comments('left', 'Left out:')}${comments('inherent', 'Applies without a setting:')}`;
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
  const settings = /registries\.conf\.d\/*$/.test(path) ? /\.conf$/ : /\.(toml|conf)$/;
  for (const name of (await readdir(path)).sort()) {
    const inside = join(path, name);
    // The runtimes follow links, which configuration management often creates.
    const entry = await stat(inside).catch((cause: unknown) => {
      throw unreadable(inside, cause);
    });
    const hosts = join(inside, 'hosts.toml');
    if (entry.isDirectory() && (await exists(hosts))) sources.push(await sourceOf(hosts, name));
    else if (!entry.isDirectory() && settings.test(name)) sources.push(await sourceOf(inside, undefined));
  }
  return sources;
}

async function sourceOf(file: string, host: string | undefined): Promise<ImportSource> {
  const bytes = await readGivenFile(file, mostBytes).catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  const text = bytes.toString('utf8');
  const folder = file.split('/').at(-2) ?? '';
  const kind = host === undefined ? kindOfToml(text, file) : 'hosts';
  // containerd writes a port as HOST_PORT_ on file systems that do not allow colons.
  return { kind, file, text, ...(kind === 'hosts' && { host: (host ?? folder).replace(/_(\d+)_$/, ':$1') }) };
}

const mostBytes = 4 * 2 ** 20;

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
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
