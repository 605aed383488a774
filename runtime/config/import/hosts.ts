import { resolve } from 'node:path';
import { hostPattern, mostMirrors } from '../registries-schema.ts';
import type { PrefixMirrorConfig } from '../types.ts';
import { isTable } from './findings.ts';
import type { Finding, Settings, Table } from './findings.ts';
import { ruleSettings, tooManyMirrors } from './rule-settings.ts';
import { mirrorOf } from './values.ts';

/** The `hosts.toml` of one registry. */
export interface HostsFile {
  /** The registry, which is the name of the folder. */
  readonly host: string;
  /** The folder, to which paths are relative. */
  readonly folder: string;
  readonly table: Table;
}

interface Read {
  readonly folder: string;
  readonly tls: Record<string, ImportedTls>;
  readonly mirrors: PrefixMirrorConfig[];
  readonly findings: Finding[];
}

interface ImportedTls {
  readonly ca?: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

const known = [
  'capabilities',
  'ca',
  'client',
  'skip_verify',
  'header',
  'override_path',
  'dial_timeout',
  'proxy',
  // Only of k3s and RKE2.
  'rewrite',
];
const capabilityNames = ['pull', 'resolve', 'push', 'referrers'];
const notCapabilities = `it is not a list of ${capabilityNames.join(', ')}`;
const ownSource = 'the registry itself is the last source';
const otherRoot =
  'the path of its API does not begin with /v2, which Portcullis does not support for mirrors: a path in registries.prefixes is the beginning of the repository name';

/**
 * Converts the `hosts.toml` of one registry. Its hosts are asked in their order, then `server`, as there: a
 * server that is not the registry itself becomes the last mirror, and the registry is not asked. A host
 * without the capability `resolve` is asked for content by digest only.
 * Source: containerd, docs/hosts.md.
 */
export function importHosts({ host, folder, table }: HostsFile): {
  readonly settings: Settings;
  readonly findings: readonly Finding[];
} {
  const name = host.toLowerCase();
  if (!new RegExp(hostPattern).test(name) || name === '_default') {
    const note =
      name === '_default'
        ? 'a mirror is named for each registry: registries.mirrors.HOST'
        : 'its folder is not named after a registry';
    return { settings: {}, findings: leftAll(table, note) };
  }
  const read: Read = { folder, tls: {}, mirrors: [], findings: [] };
  const { host: hosts, server, ...rest } = table;
  if (isTable(hosts)) {
    for (const [url, entry] of Object.entries(hosts)) {
      const key = `host.${quoted(url)}`;
      if (isTable(entry)) readHost(key, url, entry, read);
      else read.findings.push({ key, outcome: 'left', note: 'it is not a table' });
    }
  } else if (hosts !== undefined)
    read.findings.push({ key: 'host', outcome: 'left', note: 'it is not a table' });
  const own = server === undefined ? ownOnlyHost(name, read.mirrors) : ownServer(name, server);
  const before = read.mirrors.length;
  if (own === 'other') readHost('server', String(server), rest, read, '');
  else readFields('', name === 'docker.io' ? 'registry-1.docker.io' : name, rest, read);
  // The server is the last source, also if it could not be imported: the registry itself is not asked
  // instead.
  const isNamed = server !== undefined && server !== '';
  const origin = own !== 'other' && (!isNamed || servesContent(rest['capabilities'], read));
  if (own === 'plain' && server !== undefined)
    read.findings.push({ key: 'server', outcome: 'taken', note: 'registries.insecure' });
  else if (origin && server !== undefined)
    read.findings.push({
      key: 'server',
      outcome: 'inherent',
      note: ownSource,
    });
  const more = {
    ...(own === 'plain' && { insecure: [name] }),
    ...(Object.keys(read.tls).length > 0 && { tls: read.tls }),
  };
  const isRepeated = read.mirrors.slice(0, before).some(({ url }) => url === read.mirrors[before]?.url);
  const listed = isRepeated ? read.mirrors.slice(0, before) : read.mirrors;
  // The registry as its own last host is no mirror: a mirror does not get the credentials of a pull.
  const last = listed.at(-1);
  const isOwnLast = origin && last !== undefined && last.tags !== false && ownServer(name, last.url) === own;
  const mirrors = isOwnLast ? listed.slice(0, -1) : listed;
  if (mirrors.length === 0 && !origin) {
    const note =
      'no source can be imported; the registry is blocked, because the file does not name it as a source';
    const findings = [...read.findings, { key: 'server', outcome: 'left', note } as const];
    return { settings: { registries: { prefixes: { [name]: { blocked: true } } } }, findings };
  }
  if (mirrors.length === 0)
    return {
      settings: Object.keys(more).length > 0 ? { registries: more } : {},
      findings: read.findings.map((one) =>
        one.outcome === 'taken' && one.note === '' ? { ...one, outcome: 'inherent', note: ownSource } : one,
      ),
    };
  const { settings, setting } = ruleSettings(name, { mirrors, origin });
  const findings = read.findings.map((one) =>
    one.outcome === 'taken' && one.note === '' ? { ...one, note: setting } : one,
  );
  return { settings: { registries: { ...settings, ...more } }, findings };
}

/** Returns whether `server` is the registry itself, and how it is asked. */
function ownServer(name: string, server: unknown): 'own' | 'plain' | 'other' {
  if (server === undefined || server === '') return 'own';
  const url = URL.parse(withScheme(typeof server === 'string' ? server : ''));
  if (
    url === null ||
    !['', '/', '/v2', '/v2/'].includes(url.pathname) ||
    url.search !== '' ||
    url.username !== ''
  )
    return 'other';
  const names =
    name === 'docker.io'
      ? ['docker.io', 'index.docker.io', 'registry-1.docker.io']
      : [name, new URL(`${url.protocol}//${name}`).host];
  if (!names.includes(url.host)) return 'other';
  return url.protocol === 'http:' ? 'plain' : 'own';
}

/** Returns whether the registry itself, named as `server`, serves content by its own capabilities. */
function servesContent(capabilities: unknown, { findings }: Read): boolean {
  const able = capabilitiesOf(capabilities);
  const left = (note: string): void => void findings.push({ key: 'capabilities', outcome: 'left', note });
  if (able === undefined) left(notCapabilities);
  else if (!able.includes('pull')) left('no content can be pulled from the server: it is no source');
  else if (!able.includes('resolve')) left('the registry itself, as the last source, is asked for tags too');
  return able === undefined || able.includes('pull');
}

/** Without `server`, a registry whose only host is its own port over plain HTTP is asked over plain HTTP. */
function ownOnlyHost(name: string, mirrors: readonly PrefixMirrorConfig[]): 'own' | 'plain' {
  const isPlain = mirrors.length === 1 && name.includes(':') && ownServer(name, mirrors[0]?.url) === 'plain';
  return isPlain ? 'plain' : 'own';
}

/** Adds the mirror of a host, and a finding for each of its keys. */
function readHost(key: string, address: string, entry: Table, read: Read, at = `${key}.`): void {
  const { mirrors, findings } = read;
  const left = (name: string, note: string): void => void findings.push({ key: name, outcome: 'left', note });
  const url = apiRoot(address, entry['override_path'] === true);
  if (url === undefined) return left(key, 'it is not http[s]://HOST[:PORT][/PATH]');
  if (url === '') return left(key, otherRoot);
  const able = capabilitiesOf(entry['capabilities']);
  if (able === undefined) return left(`${at}capabilities`, notCapabilities);
  if (!able.includes('pull')) return left(key, 'no content can be pulled from it');
  const mirror = mirrorOf(url, true);
  if (mirror === undefined) return left(key, 'it is not http[s]://HOST[:PORT][/PATH]');
  if (mirrors.length === mostMirrors) return left(key, tooManyMirrors);
  mirrors.push({ url: mirror.url, ...(able.includes('resolve') ? {} : { tags: false }) });
  findings.push({ key, outcome: 'taken', note: '' });
  const { protocol, host } = new URL(mirror.url);
  readFields(at, host, entry, read, protocol === 'http:');
}

/**
 * Adds the certificates of a host, and a finding for each other key. Values can be secrets, and are not
 * repeated.
 */
function readFields(
  at: string,
  host: string,
  entry: Table,
  { findings, tls, folder }: Read,
  isPlain = false,
): void {
  const left = (name: string, note: string): void =>
    void findings.push({ key: `${at}${name}`, outcome: 'left', note });
  for (const [name, value] of Object.entries(entry)) {
    if (!known.includes(name)) left(quoted(name), 'this key has no meaning in this place');
    else if (name === 'ca' || name === 'client') {
      const files = isPlain
        ? plainTls
        : name === 'ca'
          ? authorities(value, folder)
          : clientCertificate(value, folder);
      if (typeof files === 'string') left(name, files);
      else {
        tls[host] = { ...tls[host], ...files };
        findings.push({ key: `${at}${name}`, outcome: 'taken', note: `registries.tls.${host}` });
      }
    } else if (name === 'header')
      left(name, 'additional HTTP headers are not supported; a mirror’s credentials are in its authFile');
    else if (name === 'rewrite')
      left(
        name,
        'names are not rewritten by patterns: a path in the URL of a mirror is put before the repository',
      );
    else if (name === 'dial_timeout')
      findings.push({
        key: `${at}${name}`,
        outcome: 'inherent',
        note: 'a connection attempt ends after 5 s',
      });
    else if (name === 'proxy')
      left(name, 'proxies are set in the environment of the daemon: HTTPS_PROXY, HTTP_PROXY, NO_PROXY');
    else if (name === 'skip_verify' && value === true)
      left(
        name,
        `certificates are always verified: name the authority of the host in registries.tls.${host}.ca`,
      );
  }
}

const plainTls = 'the host is asked over plain HTTP: write https:// in its URL';

/** Returns the files, or the reason why there are no files. */
function authorities(value: unknown, folder: string): ImportedTls | string {
  const paths: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (paths.length === 0 || !paths.every((path) => typeof path === 'string' && path !== ''))
    return 'it is not a path or a list of paths';
  return { ca: paths.map((path) => resolve(folder, String(path))) };
}

/** A path, a list of paths, or a list of pairs; a single file contains both the certificate and the key. */
function clientCertificate(value: unknown, folder: string): ImportedTls | string {
  const listed: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (listed.length > 1) return 'a host has one client certificate: registries.tls.NAME.cert and .key';
  const pair: readonly unknown[] = Array.isArray(listed[0]) ? (listed[0] as readonly unknown[]) : [listed[0]];
  const [cert, key = '', more] = pair;
  if (typeof cert !== 'string' || cert === '' || typeof key !== 'string' || more !== undefined)
    return 'it is not a path or a pair of paths';
  return { cert: resolve(folder, cert), key: resolve(folder, key === '' ? cert : key) };
}

function capabilitiesOf(value: unknown): readonly string[] | undefined {
  if (value === undefined) return capabilityNames;
  if (!Array.isArray(value)) return undefined;
  const names = value.map((one: unknown) => (typeof one === 'string' ? one.toLowerCase() : ''));
  if (!names.every((one) => capabilityNames.includes(one))) return undefined;
  return names.length === 0 ? capabilityNames : names;
}

/**
 * Returns the URL of a mirror for a host: its API must be below `/v2`, and what follows begins the name of
 * the repository. Undefined if the text is not a URL; empty if its API has another root. containerd adds
 * `/v2` behind a path unless `override_path` is set.
 */
function apiRoot(address: string, isWhole: boolean): string | undefined {
  const url = URL.parse(withScheme(address));
  if (
    url === null ||
    !/^https?:$/.test(url.protocol) ||
    url.host === '' ||
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== ''
  )
    return undefined;
  const path = url.pathname.replace(/\/+$/, '');
  if (path === '/v2' || (path === '' && !isWhole)) return url.origin;
  if (isWhole && path.startsWith('/v2/')) return `${url.origin}${path.slice('/v2'.length)}`;
  return '';
}

/** containerd adds https to an address without a scheme. */
export function withScheme(address: string): string {
  return address.includes('://') ? address : `https://${address}`;
}

function leftAll(table: Table, note: string): Finding[] {
  return Object.keys(table).map((key) => ({ key: quoted(key), outcome: 'left', note }));
}

/** Names in the file can contain any characters, and become part of a line. */
function quoted(text: string): string {
  return /^[A-Za-z0-9_.:/*@-]+$/.test(text) ? text : JSON.stringify(text);
}
