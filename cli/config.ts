import type { Command } from 'commander';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { PortcullisError, reasonOf } from '../base/errors/index.ts';
import { append } from '../base/lists/index.ts';
import { hostFoldersOf, importConfiguration, kindOfToml } from '../runtime/index.ts';
import type { Imported, ImportSource } from '../runtime/index.ts';
import { exitCodes, print, run, withOutput } from './output.ts';
import type { OutputFormat } from './output.ts';

interface Flags {
  readonly output: OutputFormat;
}

export function register(program: Command): void {
  const config = program.command('config').description('convert another runtime’s configuration to ours');
  withOutput(
    config
      .command('import')
      .description('print a config.yaml equivalent to a configuration of containerd or CRI-O, and what was left out and why')
      .argument(
        '<path...>',
        "containerd's config.toml, a hosts.toml, CRI-O's crio.conf, or a folder such as /etc/crio/crio.conf.d or /etc/containerd/certs.d",
      ),
  )
    .addHelpText(
      'after',
      '\nThe folders of hosts.toml that a config.toml names are read as well. Comments list what was left out.\n\nExamples:\n  $ portcullis config import /etc/containerd/config.toml > config.yaml\n  $ portcullis config import /etc/crio/crio.conf /etc/crio/crio.conf.d --output json',
    )
    .action((paths: readonly string[], flags: Flags) => run(flags.output, () => importFiles(paths, flags)));
}

async function importFiles(paths: readonly string[], flags: Flags): Promise<number> {
  const sources: ImportSource[] = [];
  for (const path of paths) append(sources, await sourcesAt(path));
  for (const { text, file, kind } of [...sources].filter((source) => source.kind === 'containerd')) {
    for (const folder of kind === 'containerd' ? hostFoldersOf(text, file) : []) append(sources, await sourcesAt(folder, true));
  }
  const imported = importConfiguration(sources);
  print(flags.output, imported, asYaml(imported));
  return exitCodes.yes;
}

function asYaml({ settings, findings }: Imported): string {
  const comments = (outcome: string, title: string): string => {
    const lines = findings.filter((finding) => finding.outcome === outcome).map(({ file, key, note }) => `#   ${file}: ${key}: ${note}`);
    return lines.length === 0 ? '' : `\n# ${title}\n${lines.join('\n')}\n`;
  };
  const body = Object.keys(settings).length === 0 ? '' : stringify(settings, { lineWidth: 0, singleQuote: true });
  return `${body}${comments('left', 'Left out:')}${comments('inherent', 'Applies without a setting:')}`;
}

/**
 * Reads a file, or the files of a folder in order of their names; in a folder of registries, each host's
 * hosts.toml.
 */
async function sourcesAt(path: string, optional = false): Promise<ImportSource[]> {
  const facts = await stat(path).catch((cause: unknown) => {
    if (optional) return undefined;
    throw unreadable(path, cause);
  });
  if (facts === undefined) return [];
  if (!facts.isDirectory()) return [await sourceOf(path, undefined)];
  const sources: ImportSource[] = [];
  for (const entry of (await readdir(path, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const inside = join(path, entry.name);
    const hosts = join(inside, 'hosts.toml');
    if (entry.isDirectory() && (await exists(hosts))) sources.push(await sourceOf(hosts, entry.name));
    else if (entry.isFile() && /\.(toml|conf)$/.test(entry.name)) sources.push(await sourceOf(inside, undefined));
  }
  return sources;
}

async function sourceOf(file: string, host: string | undefined): Promise<ImportSource> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  const folder = file.split('/').at(-2) ?? '';
  const kind = host === undefined ? kindOfToml(text, file) : 'hosts';
  // containerd writes a port as HOST_PORT_ on file systems that do not allow colons.
  return { kind, file, text, ...(kind === 'hosts' && { host: (host ?? folder).replace(/_(\d+)_$/, ':$1') }) };
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function unreadable(path: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'CLI_UNREADABLE',
    kind: 'invalid',
    attempted: 'read',
    on: path,
    why: reasonOf(cause),
    fix: 'name a readable file or folder',
    cause,
  });
}
