import { dirname } from 'node:path';
import { TomlError, parse } from 'smol-toml';
import { stringify } from 'yaml';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { append } from '../../../base/lists/index.ts';
import { faultsOf, parseDocuments } from '../../../base/schema/index.ts';
import type { PathSegment } from '../../../base/schema/index.ts';
import { configSchema } from '../schema.ts';
import { containerdRules } from './containerd.ts';
import { crioRules } from './crio.ts';
import { applyRules, isTable } from './findings.ts';
import type { Finding, Settings, Table } from './findings.ts';
import { importHosts } from './hosts.ts';
import { importRegistries, isRegistriesConf } from './registries.ts';
import { blockedSettings, withoutContradictions } from './rule-settings.ts';

/** A file to import. Its `kind` decides which keys are known. */
export interface ImportSource {
  readonly kind: 'containerd' | 'crio' | 'hosts' | 'registries';
  /** The name used in messages. For `hosts`, the registry's host is the name of its folder. */
  readonly file: string;
  readonly text: string;
  readonly host?: string;
}

export interface Imported {
  /** The settings to write into config.yaml, nested as there. */
  readonly settings: Settings;
  readonly findings: readonly (Finding & { readonly file: string })[];
}

/**
 * Converts files of another runtime to our settings. If two files set the same key, the later one counts.
 * Files of the kind `registries` are converted together, after the others. Pure.
 * @throws PortcullisError CONFIG_IMPORT_UNREADABLE for a text that is not TOML
 */
export function importConfiguration(sources: readonly ImportSource[]): Imported {
  let settings: Settings = {};
  const findings: (Finding & { file: string })[] = [];
  for (const source of sources) {
    if (source.kind === 'registries') continue;
    const table = parseToml(source);
    const made =
      source.kind === 'hosts'
        ? importHosts({ host: source.host ?? '', folder: dirname(source.file), table })
        : applyRules(table, { containerd: containerdRules, crio: crioRules }[source.kind]);
    settings = merge(
      settings,
      source.kind === 'hosts' ? withInsecureOf(made.settings, settings) : made.settings,
    );
    append(
      findings,
      made.findings.map((finding) => ({ ...finding, file: source.file })),
    );
  }
  const registries = importRegistries(
    sources
      .filter(({ kind }) => kind === 'registries')
      .map((source) => ({ file: source.file, table: parseToml(source) })),
  );
  settings = merge(settings, withInsecureOf(registries.settings, settings));
  append(findings, registries.findings);
  settings = withoutContradictions(settings, (finding) => findings.push(finding));
  const fit = withoutUnfit(settings, findings);
  const builtIn = sources.some(({ kind }) => kind === 'containerd')
    ? { names: ['runc'], path: '/usr/sbin/runc' }
    : { names: ['crun', 'runc'], path: '/usr/bin/crun' };
  const imported = withDefaultRuntime(fit, builtIn);
  return { ...imported, findings: imported.findings.map(withoutUsers) };
}

/** Hides the user and the password of a URL in a finding: findings are printed into config.yaml. */
function withoutUsers<Found extends Finding>(finding: Found): Found {
  const hide = (text: string): string => text.replaceAll(/:\/\/[^/?#\s"']*@/gu, '://…@');
  return { ...finding, key: hide(finding.key), note: hide(finding.note) };
}

/** Adds the insecure hosts of other files: otherwise one list would replace the other list. */
function withInsecureOf(settings: Settings, others: Settings): Settings {
  const hostsOf = (of: Settings): readonly unknown[] => {
    const { insecure } = isTable(of['registries']) ? of['registries'] : {};
    return Array.isArray(insecure) ? insecure : [];
  };
  const all = [...new Set([...hostsOf(others), ...hostsOf(settings)])];
  if (all.length === 0 || !isTable(settings['registries'])) return settings;
  return { ...settings, registries: { ...settings['registries'], insecure: all } };
}

/**
 * The default handler must be one of the imported handlers. If the file names none, it is the other runtime's
 * own default: that runtime has this handler even if its file only lists other ones.
 * @param builtIn the names of this handler in the versions of the other runtime, the newest first
 */
function withDefaultRuntime(
  { settings, findings }: Imported,
  builtIn: { readonly names: readonly string[]; readonly path: string },
): Imported {
  const { runtimes, defaultRuntime: asked, ...others } = settings;
  if (runtimes === undefined && asked === undefined) return { settings, findings };
  // Without imported handlers, the daemon has its default handlers (../schema.ts).
  const names = isTable(runtimes) ? Object.keys(runtimes) : ['crun', 'runc'];
  if (typeof asked === 'string' && names.includes(asked)) return { settings, findings };
  const [usual = ''] = builtIn.names;
  const name = builtIn.names.find((one) => names.includes(one)) ?? usual;
  const more: Imported['findings'][number][] = [];
  if (asked !== undefined && asked !== name) {
    const note = `the handler ${typeof asked === 'string' ? asked : JSON.stringify(asked)} was not imported`;
    more.push({ file: 'config.yaml', key: 'defaultRuntime', outcome: 'left', note });
  }
  if (runtimes === undefined) return { settings: others, findings: [...findings, ...more] };
  if (!names.includes(name)) {
    const note = 'the other runtime has this handler without a setting';
    more.push({ file: 'config.yaml', key: `runtimes.${name}`, outcome: 'inherent', note });
  }
  const handlers = { [name]: { path: builtIn.path }, ...(isTable(runtimes) ? runtimes : {}) };
  return {
    settings: { ...others, runtimes: handlers, defaultRuntime: name },
    findings: [...findings, ...more],
  };
}

/**
 * Omits and reports values that are valid in the imported file but not in config.yaml. Otherwise the result
 * would be a file that does not load. Only the entry with the value is omitted: the entries beside it can be
 * restrictions, such as blocked registries.
 */
function withoutUnfit(
  settings: Settings,
  findings: readonly (Finding & { readonly file: string })[],
): Imported {
  const text = stringify(settings);
  const [document] = parseDocuments(text, 'config.yaml').documents;
  const faults = document === undefined ? [] : faultsOf(document, configSchema, 100);
  // A fault with a longer path names the entry that another fault is about.
  const [fault] = faults.toSorted((a, b) => b.at.length - a.at.length);
  if (fault === undefined) return { settings, findings };
  const entry = entryOf(fault.at);
  const { path, message } = fault.problem;
  const rest = without(settings, entry);
  const isOnlySource = isTable(valueAt(settings, entry)) && hasNoOrigin(settings, entry);
  const kept = isOnlySource ? merge(rest, { registries: blockedSettings(String(entry[2])).settings }) : rest;
  const note = isOnlySource ? `${message}; the name is blocked, because its sources are not used` : message;
  return withoutUnfit(kept, [...findings, { file: 'config.yaml', key: path, outcome: 'left', note }]);
}

/** Sections of `registries` whose entries are independent of each other. */
const registrySections: readonly unknown[] = ['mirrors', 'prefixes', 'tls'];

/** Returns the path of the entry that contains a value, whose parts only have a meaning together. */
function entryOf(at: readonly PathSegment[]): readonly PathSegment[] {
  const [first, second, third] = at;
  const isEntry = typeof third === 'number' || (first === 'registries' && registrySections.includes(second));
  return at.slice(0, isEntry ? 3 : 2);
}

/** Returns whether the registry itself is not a source of the names of this entry. */
function hasNoOrigin(settings: Settings, entry: readonly PathSegment[]): boolean {
  const value = valueAt(settings, entry);
  return entry[0] === 'registries' && entry[1] !== 'tls' && isTable(value) && value['origin'] === false;
}

function valueAt(value: unknown, path: readonly PathSegment[]): unknown {
  return path.reduce<unknown>((inner, step) => (isTable(inner) ? inner[step] : undefined), value);
}

/** Returns a value without one of its parts, and without tables and lists that become empty. */
function without(settings: Settings, path: readonly PathSegment[]): Settings {
  const [first, ...rest] = path;
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) => {
      if (name !== String(first)) return [[name, value]];
      const kept =
        Array.isArray(value) && rest.length > 0
          ? value.filter((_, index) => index !== rest[0])
          : isTable(value) && rest.length > 0
            ? without(value, rest)
            : [];
      return Object.keys(kept).length === 0 ? [] : [[name, kept]];
    }),
  );
}

/** Determines the kind of a file from its contents. */
export function kindOfToml(text: string, file: string): ImportSource['kind'] {
  const table = parseToml({ file, text });
  if (isRegistriesConf(table)) return 'registries';
  return isTable(table['crio'])
    ? 'crio'
    : isTable(table['host']) || typeof table['server'] === 'string'
      ? 'hosts'
      : 'containerd';
}

/**
 * Returns the files that a containerd configuration imports, as it names them: relative to its folder, and
 * with `*` for any characters.
 */
export function importsOf(text: string, file: string): readonly string[] {
  const { imports } = parseToml({ file, text });
  const listed: readonly unknown[] = Array.isArray(imports) ? imports : [];
  return listed.filter((one): one is string => typeof one === 'string' && one !== '');
}

/**
 * Returns the folders with one `hosts.toml` per registry that a containerd configuration names, as a list of
 * paths separated by colons.
 */
export function hostFoldersOf(text: string, file: string): readonly string[] {
  const found: string[] = [];
  const visit = (table: Table): void => {
    for (const [name, value] of Object.entries(table)) {
      if (name === 'registry' && isTable(value) && typeof value['config_path'] === 'string')
        append(found, value['config_path'].split(':'));
      if (isTable(value)) visit(value);
    }
  };
  visit(parseToml({ file, text }));
  return found.filter((folder) => folder !== '');
}

function parseToml({ file, text }: Pick<ImportSource, 'file' | 'text'>): Table {
  try {
    return parse(text);
  } catch (cause) {
    throw new PortcullisError({
      code: 'CONFIG_IMPORT_UNREADABLE',
      kind: 'invalid',
      attempted: 'read configuration',
      on: cause instanceof TomlError ? `${file}:${cause.line}:${cause.column}` : file,
      why: reasonOf(cause).split('\n')[0] ?? 'it is not TOML',
      fix: 'correct the file; it must be TOML',
      cause,
    });
  }
}

function merge(a: Settings, b: Settings): Settings {
  const entries = Object.entries(b).map(([key, value]): [string, unknown] => {
    const own = Object.hasOwn(a, key) ? a[key] : undefined;
    return [key, isTable(own) && isTable(value) ? merge(own, value) : value];
  });
  return { ...a, ...Object.fromEntries(entries) };
}
