import { hostPattern } from '../registries-schema.ts';
import { isTable } from './findings.ts';
import type { Finding, Settings, Table } from './findings.ts';
import { mirrorOf } from './values.ts';

/** A registries.conf, or a drop-in of registries.conf.d. */
export interface RegistriesFile {
  readonly file: string;
  readonly table: Table;
}

type Found = Finding & { readonly file: string };

/** One `[[registry]]` table, or what the deprecated format says about a registry. */
interface Entry {
  readonly file: string;
  /** How findings call it: `registry[docker.io]`. */
  readonly key: string;
  readonly table: Table;
}

const noCredentials =
  'no credentials are kept in a configuration: a kubelet hands them on, and a mirror has registries.mirrors.NAME.authFile';
const shortNames = 'a short name is of docker.io: write full names';
const blocked = 'write a TrustPolicy without a rule that admits these images: what no rule admits is denied';
const ofPart = 'mirrors and plain HTTP are set for a whole registry, HOST[:PORT]';
const oneMirror = 'a registry has one mirror, and its other source is the registry itself';
const meansNothing = 'it means nothing here';
const bothKinds = 'a mirror serves tags and digests alike: write registries.mirrors yourself if this is right for it';

/**
 * Converts registries.conf (version 2, and the deprecated version 1) with its drop-ins, in the order in which
 * they are loaded: a later table of the same prefix replaces the earlier one, as later values do.
 * Sources: containers-registries.conf(5), containers-registries.conf.d(5).
 */
export function importRegistries(files: readonly RegistriesFile[]): { readonly settings: Settings; readonly findings: readonly Found[] } {
  const findings: Found[] = [];
  const entries = new Map<string, Entry>();
  const globals = new Map<string, { readonly file: string; readonly value: unknown }>();
  const replaced = (file: string, key: string, by: string): void =>
    void findings.push({ file, key, outcome: 'inherent', note: `${by} replaces it` });
  const addEntry = (prefix: string, entry: Entry): void => {
    const before = entries.get(prefix);
    if (before !== undefined) replaced(before.file, before.key, entry.file);
    entries.set(prefix, entry);
  };
  for (const { file, table } of files) {
    for (const [name, value] of Object.entries(table)) {
      if (name === 'registry' && Array.isArray(value)) {
        for (const [at, entry] of value.entries()) {
          const prefix = isTable(entry) ? textOf(entry['prefix']) || textOf(entry['location']) : '';
          if (isTable(entry) && prefix !== '') addEntry(prefix, { file, key: `registry[${quoted(prefix)}]`, table: entry });
          else findings.push({ file, key: `registry[${at}]`, outcome: 'left', note: 'it names no registry' });
        }
      } else if (name === 'registries' && isTable(value)) {
        for (const { prefix, key, entry } of deprecated(value)) addEntry(prefix, { file, key, table: entry });
        for (const { key, note } of unreadDeprecated(value)) findings.push({ file, key, outcome: 'left', note });
        const search = isTable(value['search']) ? value['search']['registries'] : undefined;
        if (search !== undefined) globals.set('registries.search.registries', { file, value: search });
      } else if (name === 'aliases' && isTable(value)) {
        for (const [alias, of] of Object.entries(value)) globals.set(`aliases.${quoted(alias)}`, { file, value: of });
      } else {
        const before = globals.get(quoted(name));
        if (before !== undefined) replaced(before.file, quoted(name), file);
        globals.set(quoted(name), { file, value });
      }
    }
  }
  for (const [key, { file, value }] of globals) findings.push({ file, key, ...globalFinding(key, value) });
  const mirrors = new Map<string, unknown>();
  const insecure = new Set<string>();
  for (const [prefix, entry] of entries) {
    for (const finding of registryFindings(prefix, entry, mirrors, insecure)) findings.push({ file: entry.file, ...finding });
  }
  const registries = {
    ...(mirrors.size > 0 && { mirrors: Object.fromEntries(mirrors) }),
    ...(insecure.size > 0 && { insecure: [...insecure] }),
  };
  return { settings: Object.keys(registries).length === 0 ? {} : { registries }, findings };
}

/** Returns whether a TOML file is a registries.conf. */
export function isRegistriesConf(table: Table): boolean {
  const registries = table['registries'];
  return (
    Array.isArray(table['registry']) ||
    ['unqualified-search-registries', 'short-name-mode', 'credential-helpers', 'additional-layer-store-auth-helper'].some((key) =>
      Object.hasOwn(table, key),
    ) ||
    isTable(table['aliases']) ||
    (isTable(registries) && ['search', 'insecure', 'block'].some((key) => Object.hasOwn(registries, key)))
  );
}

type Outcome = Pick<Finding, 'note' | 'outcome'>;

function globalFinding(key: string, value: unknown): Outcome {
  if (key === 'unqualified-search-registries' || key === 'registries.search.registries') {
    const ours = Array.isArray(value) && value.every((one) => one === 'docker.io');
    return ours ? { outcome: 'inherent', note: 'a short name is of docker.io' } : { outcome: 'left', note: shortNames };
  }
  if (key.startsWith('aliases.')) {
    // An empty value of a drop-in removes the alias.
    if (value === '') return { outcome: 'inherent', note: 'there are no aliases' };
    const full = typeof value === 'string' ? value : JSON.stringify(value);
    const name = /^aliases\.([a-z0-9._-]+)$/.exec(key)?.[1];
    return full === `docker.io/library/${name ?? ''}`
      ? { outcome: 'inherent', note: 'a short name is of docker.io' }
      : { outcome: 'left', note: `there are no aliases: write ${quoted(full)}` };
  }
  if (key === 'short-name-mode') return { outcome: 'inherent', note: 'a short name has one meaning, so that there is nothing to choose' };
  if (key === 'credential-helpers' || key === 'additional-layer-store-auth-helper') return { outcome: 'left', note: noCredentials };
  return { outcome: 'left', note: meansNothing };
}

/** Returns what the deprecated format says, as tables of the current one. */
function deprecated(value: Table): { readonly prefix: string; readonly key: string; readonly entry: Table }[] {
  return (['insecure', 'block'] as const).flatMap((kind) => {
    const table = value[kind];
    const names = isTable(table) && Array.isArray(table['registries']) ? table['registries'] : [];
    return names.flatMap((prefix: unknown) =>
      typeof prefix === 'string' && prefix !== ''
        ? [
            {
              prefix,
              key: `registries.${kind}[${quoted(prefix)}]`,
              entry: kind === 'block' ? { location: prefix, blocked: true } : { location: prefix, insecure: true },
            },
          ]
        : [],
    );
  });
}

const notNames = 'it is not a list of names of registries';

/** Returns what {@link deprecated} cannot read: a restriction with a wrong type must not vanish. */
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

/** Returns the known keys of a table whose values have another type than containers-registries.conf(5) gives. */
function wrongTypes(
  table: Table,
  types: Readonly<Record<string, 'boolean' | 'string' | 'array'>>,
): { readonly name: string; readonly note: string }[] {
  return Object.entries(types).flatMap(([name, type]) => {
    const value = table[name];
    const fits = value === undefined || (type === 'array' ? Array.isArray(value) : typeof value === type);
    return fits
      ? []
      : [{ name, note: `it is not ${type === 'boolean' ? 'true or false' : type === 'array' ? 'a list of tables' : 'a text'}` }];
  });
}

/** Adds the settings of one table, and returns a finding for each of its keys. */
function registryFindings(prefix: string, { key, table }: Entry, mirrors: Map<string, unknown>, insecure: Set<string>): Finding[] {
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
  if (table['blocked'] === true) return [left('blocked', blocked), ...unknown];
  const host = prefix.toLowerCase();
  if (!isHost(host))
    return [{ key, outcome: 'left', note: prefix.startsWith('*.') ? `${ofPart}, not for all names of a domain` : ofPart }, ...unknown];
  const location = textOf(table['location']) || prefix;
  const moved = location.toLowerCase() !== host;
  const listed = Array.isArray(table['mirror']) ? (table['mirror'] as readonly unknown[]) : [];
  const findings: Finding[] = [];
  const taken = (name: string, setting: string): void => void findings.push({ key: `${key}.${name}`, outcome: 'taken', note: setting });
  const setMirror = (name: string, mirror: NonNullable<ReturnType<typeof mirrorOf>>, plain: boolean): void => {
    mirrors.set(host, mirror);
    taken(name, `registries.mirrors.${host}`);
    if (plain) findings.push({ key: `${key}.${name}.insecure`, outcome: 'inherent', note: plainHttp('registries.mirrors') });
  };
  if (moved) {
    // Everything comes from the other place, and nothing from the registry itself.
    const mirror = endpointOf(location, table['insecure'] === true, false);
    if (mirror === undefined) findings.push(left('location', 'it is not HOST[:PORT][/PATH]'));
    else setMirror('location', mirror, table['insecure'] === true);
  } else if (table['insecure'] === true) {
    insecure.add(host);
    taken('insecure', 'registries.insecure');
    findings.push({ key: `${key}.insecure`, outcome: 'inherent', note: plainHttp('registries.insecure') });
  }
  const byDigest = table['mirror-by-digest-only'] === true;
  for (const [at, entry] of listed.entries()) {
    const name = `mirror[${at}]`;
    const { location: place, insecure: plain, 'pull-from-mirror': restriction = 'all' } = isTable(entry) ? entry : ({} as Table);
    if (isTable(entry))
      for (const wrong of wrongTypes(entry, { insecure: 'boolean' })) unknown.push(left(`${name}.${wrong.name}`, wrong.note));
    const mirror = endpointOf(place, plain === true, true);
    if (mirror === undefined) findings.push(left(name, 'it is not HOST[:PORT][/PATH]'));
    else if (byDigest || (restriction !== 'all' && restriction !== '')) {
      findings.push(left(name, byDigest ? `mirror-by-digest-only: ${bothKinds}` : `pull-from-mirror: ${bothKinds}`));
    } else if (moved || mirrors.has(host)) findings.push(left(name, oneMirror));
    else setMirror(name, mirror, plain === true);
  }
  if (findings.length === 0 && unknown.length === 0)
    findings.push({ key, outcome: 'inherent', note: 'the registry itself is asked, over TLS' });
  return [...findings, ...unknown];
}

const plainHttp = (setting: string): string =>
  `it is asked over plain HTTP; if it speaks TLS, correct ${setting}, and put its authority into a folder of registries.certificates`;

function endpointOf(location: unknown, plain: boolean, origin: boolean): ReturnType<typeof mirrorOf> {
  // A location is no URL: a scheme in it would be part of the name.
  if (typeof location !== 'string' || !isHost(location.split('/')[0] ?? '')) return undefined;
  return mirrorOf(`${plain ? 'http' : 'https'}://${location}`, origin);
}

function isHost(text: string): boolean {
  return new RegExp(hostPattern).test(text);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Names of the file can contain anything, and become part of a line. */
function quoted(text: string): string {
  return /^[A-Za-z0-9_.:/*@-]+$/.test(text) ? text : JSON.stringify(text);
}
