import { hostPattern, mostMirrors, prefixPattern } from '../registries-schema.ts';
import type { PrefixMirrorConfig } from '../types.ts';
import { isTable } from './findings.ts';
import type { Finding, Settings, Table } from './findings.ts';
import { blockedSettings, ruleSettings, tooManyMirrors } from './rule-settings.ts';
import { mirrorOf } from './values.ts';

/** A registries.conf, or a drop-in of registries.conf.d. */
export interface RegistriesFile {
  readonly file: string;
  readonly table: Table;
}

type Found = Finding & { readonly file: string };

/** One `[[registry]]` table, or the settings of a registry in the deprecated format. */
interface Entry {
  readonly file: string;
  /** Its name in findings: `registry[docker.io]`. */
  readonly key: string;
  readonly table: Table;
}

const noCredentials =
  'the configuration contains no credentials: a kubelet passes them on, and a mirror has registries.mirrors.NAME.authFile';
const shortNames = 'a short name is a name at docker.io: write full names';
const ofPart = 'plain HTTP is set for a whole registry, HOST[:PORT]';
const noPrefix = 'it is not HOST[:PORT][/PATH] or *.DOMAIN: a prefix ends before the tag or digest';
const meansNothing = 'this key has no meaning in this place';
const tagsOnly =
  'a mirror that is asked for tags also serves content by digest: write registries.prefixes yourself if the mirror may serve tags';
const bothSettings = 'it contradicts mirror-by-digest-only';

/**
 * Converts registries.conf (version 2, and the deprecated version 1) with its drop-ins, in the order in which
 * they are loaded: a later table of the same prefix replaces the earlier one, as later values do.
 * Sources: containers-registries.conf(5), containers-registries.conf.d(5).
 */
export function importRegistries(files: readonly RegistriesFile[]): {
  readonly settings: Settings;
  readonly findings: readonly Found[];
} {
  const { entries, globals, findings } = readFiles(files);
  for (const [key, { file, value }] of globals) findings.push({ file, key, ...globalFinding(key, value) });
  const sections = new Map<string, Map<string, unknown>>();
  const insecure = new Set<string>();
  const add = (settings: Settings): void => {
    for (const [section, rules] of Object.entries(settings)) {
      const names = sections.get(section) ?? new Map<string, unknown>();
      for (const [prefix, rule] of Object.entries(isTable(rules) ? rules : {})) names.set(prefix, rule);
      sections.set(section, names);
    }
  };
  for (const [prefix, entry] of entries) {
    for (const finding of registryFindings(prefix, entry, { insecure, add }))
      findings.push({ file: entry.file, ...finding });
  }
  const registries = {
    ...Object.fromEntries([...sections].map(([section, names]) => [section, Object.fromEntries(names)])),
    ...(insecure.size > 0 && { insecure: [...insecure] }),
  };
  return { settings: Object.keys(registries).length === 0 ? {} : { registries }, findings };
}

interface Tables {
  /** The tables of registries, by prefix. */
  readonly entries: Map<string, Entry>;
  /** All other values, by key. */
  readonly globals: Map<string, { readonly file: string; readonly value: unknown }>;
  readonly findings: Found[];
}

/** Returns what stays in force after all files, and findings about what does not. */
function readFiles(files: readonly RegistriesFile[]): Tables {
  const tables: Tables = { entries: new Map(), globals: new Map(), findings: [] };
  for (const { file, table } of files)
    for (const [name, value] of Object.entries(table)) readKey(tables, file, name, value);
  return tables;
}

function readKey(tables: Tables, file: string, name: string, value: unknown): void {
  const { entries, globals, findings } = tables;
  const replaced = (of: string, key: string): void =>
    void findings.push({ file: of, key, outcome: 'inherent', note: `${file} replaces it` });
  const addEntry = (prefix: string, key: string, table: Table): void => {
    const before = entries.get(prefix);
    if (before !== undefined) replaced(before.file, before.key);
    entries.set(prefix, { file, key, table });
  };
  const left = (key: string, note: string): void => void findings.push({ file, key, outcome: 'left', note });

  if (name === 'registry' && Array.isArray(value)) {
    for (const [at, entry] of value.entries()) {
      const prefix = isTable(entry) ? textOf(entry['prefix']) || textOf(entry['location']) : '';
      if (isTable(entry) && prefix !== '') addEntry(prefix, `registry[${quoted(prefix)}]`, entry);
      else left(`registry[${at}]`, 'it does not name a registry');
    }
    return;
  }
  if (name === 'registries' && isTable(value)) {
    for (const { prefix, key, entry } of deprecated(value)) addEntry(prefix, key, entry);
    for (const { key, note } of unreadDeprecated(value)) left(key, note);
    const search = isTable(value['search']) ? value['search']['registries'] : undefined;
    if (search !== undefined) globals.set('registries.search.registries', { file, value: search });
    return;
  }
  if (name === 'aliases' && isTable(value)) {
    for (const [alias, of] of Object.entries(value))
      globals.set(`aliases.${quoted(alias)}`, { file, value: of });
    return;
  }
  const before = globals.get(quoted(name));
  if (before !== undefined) replaced(before.file, quoted(name));
  globals.set(quoted(name), { file, value });
}

/** Returns whether a TOML file is a registries.conf. */
export function isRegistriesConf(table: Table): boolean {
  const registries = table['registries'];
  return (
    Array.isArray(table['registry']) ||
    [
      'unqualified-search-registries',
      'short-name-mode',
      'credential-helpers',
      'additional-layer-store-auth-helper',
    ].some((key) => Object.hasOwn(table, key)) ||
    isTable(table['aliases']) ||
    (isTable(registries) && ['search', 'insecure', 'block'].some((key) => Object.hasOwn(registries, key)))
  );
}

type Outcome = Pick<Finding, 'note' | 'outcome'>;

function globalFinding(key: string, value: unknown): Outcome {
  if (key === 'unqualified-search-registries' || key === 'registries.search.registries') {
    const ours = Array.isArray(value) && value.every((one) => one === 'docker.io');
    return ours
      ? { outcome: 'inherent', note: 'a short name is a name at docker.io' }
      : { outcome: 'left', note: shortNames };
  }
  if (key.startsWith('aliases.')) {
    // An empty value of a drop-in removes the alias.
    if (value === '') return { outcome: 'inherent', note: 'aliases are not supported' };
    const full = typeof value === 'string' ? value : JSON.stringify(value);
    const name = /^aliases\.([a-z0-9._-]+)$/.exec(key)?.[1];
    return full === `docker.io/library/${name ?? ''}`
      ? { outcome: 'inherent', note: 'a short name is a name at docker.io' }
      : { outcome: 'left', note: `aliases are not supported: write ${quoted(full)}` };
  }
  if (key === 'short-name-mode')
    return { outcome: 'inherent', note: 'a short name has only one meaning, so there is no choice' };
  if (key === 'credential-helpers' || key === 'additional-layer-store-auth-helper')
    return { outcome: 'left', note: noCredentials };
  return { outcome: 'left', note: meansNothing };
}

/** Returns the settings of the deprecated format as tables of the current format. */
function deprecated(
  value: Table,
): { readonly prefix: string; readonly key: string; readonly entry: Table }[] {
  return (['insecure', 'block'] as const).flatMap((kind) => {
    const table = value[kind];
    const names = isTable(table) && Array.isArray(table['registries']) ? table['registries'] : [];
    return names.flatMap((prefix: unknown) =>
      typeof prefix === 'string' && prefix !== ''
        ? [
            {
              prefix,
              key: `registries.${kind}[${quoted(prefix)}]`,
              entry:
                kind === 'block' ? { location: prefix, blocked: true } : { location: prefix, insecure: true },
            },
          ]
        : [],
    );
  });
}

const notNames = 'it is not a list of registry names';

/**
 * Returns the parts that {@link deprecated} cannot read: a restriction with a wrong type must not be ignored.
 */
function unreadDeprecated(value: Table): { readonly key: string; readonly note: string }[] {
  return Object.entries(value).flatMap(([kind, table]) => {
    const key = `registries.${quoted(kind)}`;
    if (!['search', 'insecure', 'block'].includes(kind)) return [{ key, note: meansNothing }];
    if (!isTable(table)) return [{ key, note: notNames }];
    return Object.entries(table).flatMap(([name, names]) => {
      const inner = `${key}.${quoted(name)}`;
      if (name !== 'registries') return [{ key: inner, note: meansNothing }];
      if (!Array.isArray(names)) return [{ key: inner, note: notNames }];
      return names.flatMap((one: unknown, at) =>
        typeof one === 'string' && one !== '' ? [] : [{ key: `${inner}[${at}]`, note: notNames }],
      );
    });
  });
}

/**
 * Returns the known keys of a table whose values have another type than containers-registries.conf(5) gives.
 */
function wrongTypes(
  table: Table,
  types: Readonly<Record<string, 'boolean' | 'string' | 'array'>>,
): { readonly name: string; readonly note: string }[] {
  return Object.entries(types).flatMap(([name, type]) => {
    const value = table[name];
    const fits = value === undefined || (type === 'array' ? Array.isArray(value) : typeof value === type);
    return fits
      ? []
      : [
          {
            name,
            note: `it is not ${type === 'boolean' ? 'true or false' : type === 'array' ? 'a list of tables' : 'a text'}`,
          },
        ];
  });
}

/** The imported settings. */
interface Taken {
  readonly insecure: Set<string>;
  /** Adds entries of `registries.mirrors` or `registries.prefixes`. */
  add(settings: Settings): void;
}

/** Adds the settings of one table, and returns a finding for each of its keys. */
function registryFindings(prefix: string, { key, table }: Entry, into: Taken): Finding[] {
  const left = (name: string, note: string): Finding => ({ key: `${key}.${name}`, outcome: 'left', note });
  const known = ['prefix', 'location', 'insecure', 'blocked', 'mirror', 'mirror-by-digest-only'];
  const unknown = Object.keys(table)
    .filter((name) => !known.includes(name))
    .map((name) => left(quoted(name), meansNothing));
  for (const { name, note } of wrongTypes(table, {
    ...{ prefix: 'string', location: 'string', insecure: 'boolean', blocked: 'boolean' },
    ...{ mirror: 'array', 'mirror-by-digest-only': 'boolean' },
  }))
    unknown.push(left(name, note));
  const host = prefix.toLowerCase().split('/')[0] ?? '';
  const name = `${host}${prefix.slice(host.length)}`;
  if (!new RegExp(prefixPattern).test(name)) return [{ key, outcome: 'left', note: noPrefix }, ...unknown];
  if (table['blocked'] === true) {
    const { settings, setting } = blockedSettings(name);
    into.add(settings);
    const unused = ['location', 'insecure', 'mirror', 'mirror-by-digest-only']
      .filter((one) => Object.hasOwn(table, one) && (one !== 'location' || Object.hasOwn(table, 'prefix')))
      .map((one): Finding => ({
        key: `${key}.${one}`,
        outcome: 'inherent',
        note: 'a blocked name has no sources',
      }));
    return [{ key: `${key}.blocked`, outcome: 'taken', note: setting }, ...unused, ...unknown];
  }
  const location = textOf(table['location']) || prefix;
  const moved = location.toLowerCase() !== prefix.toLowerCase();
  const isPlain = table['insecure'] === true;
  const findings: Finding[] = [];
  const mirrors: PrefixMirrorConfig[] = [];
  const places: { readonly name: string; readonly plain: boolean }[] = [];
  const byDigest = table['mirror-by-digest-only'] === true;
  const listed = Array.isArray(table['mirror']) ? (table['mirror'] as readonly unknown[]) : [];
  for (const [at, entry] of listed.entries()) {
    const from = `mirror[${at}]`;
    if (isTable(entry))
      for (const wrong of wrongTypes(entry, { insecure: 'boolean' }))
        unknown.push(left(`${from}.${wrong.name}`, wrong.note));
    const { mirror, plain, refused } = mirrorEntry(entry, byDigest);
    if (mirror === undefined) findings.push(left(from, refused));
    else if (mirrors.length === mostMirrors) findings.push(left(from, tooManyMirrors));
    else {
      places.push({ name: from, plain });
      mirrors.push(mirror);
    }
  }
  if (moved) {
    // The last source is the other location, not the registry itself.
    const url = endpointOf(location, isPlain);
    if (url === undefined) findings.push(left('location', 'it is not HOST[:PORT][/PATH]'));
    else if (mirrors.length === mostMirrors) findings.push(left('location', tooManyMirrors));
    else {
      mirrors.push({ url });
      places.push({ name: 'location', plain: isPlain });
    }
  } else if (isPlain && isHost(name)) {
    into.insecure.add(name);
    findings.push({ key: `${key}.insecure`, outcome: 'taken', note: 'registries.insecure' });
    findings.push({ key: `${key}.insecure`, outcome: 'inherent', note: plainHttp('registries.insecure') });
  } else if (isPlain) findings.push(left('insecure', ofPart));
  if (mirrors.length > 0) {
    const { settings, setting } = ruleSettings(name, { mirrors, origin: !moved });
    into.add(settings);
    for (const { name: from, plain } of places) {
      findings.push({ key: `${key}.${from}`, outcome: 'taken', note: setting });
      if (plain)
        findings.push({ key: `${key}.${from}.insecure`, outcome: 'inherent', note: plainHttp(setting) });
    }
  } else if (moved) {
    // Without its location, the registry itself would be asked, although the file does not request this.
    const { settings, setting } = blockedSettings(name);
    into.add(settings);
    findings.push({
      key,
      outcome: 'taken',
      note: `${setting}: blocked, because none of its sources can be used`,
    });
  }
  if (findings.length === 0 && unknown.length === 0)
    findings.push({ key, outcome: 'inherent', note: 'the registry itself is asked, over TLS' });
  return [...findings, ...unknown];
}

/** Returns the mirror of one `[[registry.mirror]]` table, or the reason why it is omitted. */
function mirrorEntry(
  entry: unknown,
  byDigest: boolean,
): { readonly mirror?: PrefixMirrorConfig; readonly plain: boolean; readonly refused: string } {
  const { location, insecure, 'pull-from-mirror': kind = '' } = isTable(entry) ? entry : ({} as Table);
  const plain = insecure === true;
  const url = endpointOf(location, plain);
  if (url === undefined) return { plain, refused: 'it is not HOST[:PORT][/PATH]' };
  if (byDigest && kind !== '' && kind !== 'digest-only')
    return { plain, refused: `pull-from-mirror: ${bothSettings}` };
  if (kind === 'tag-only') return { plain, refused: `pull-from-mirror: ${tagsOnly}` };
  if (kind !== '' && kind !== 'all' && kind !== 'digest-only')
    return { plain, refused: 'pull-from-mirror: it is not all, digest-only or tag-only' };
  return {
    plain,
    refused: '',
    mirror: { url, ...(byDigest || kind === 'digest-only' ? { tags: false } : {}) },
  };
}

const plainHttp = (setting: string): string =>
  `it is asked over plain HTTP; if it supports TLS, correct ${setting}, and put its authority into a folder of registries.certificates`;

function endpointOf(location: unknown, plain: boolean): string | undefined {
  // A location is not a URL: a scheme in it would be part of the name.
  if (typeof location !== 'string' || !isHost(location.split('/')[0] ?? '')) return undefined;
  return mirrorOf(`${plain ? 'http' : 'https'}://${location}`, true)?.url;
}

function isHost(text: string): boolean {
  return new RegExp(hostPattern).test(text);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Names in the file can contain any characters, and become part of a line. */
function quoted(text: string): string {
  return /^[A-Za-z0-9_.:/*@-]+$/.test(text) ? text : JSON.stringify(text);
}
