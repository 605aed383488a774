import { canonicalHost } from '../../base/distribution/index.ts';
import type { DaemonConfig, PrefixConfig } from './types.ts';

type Registries = Pick<DaemonConfig['registries'], 'mirrors' | 'prefixes'>;
type Tls = DaemonConfig['registries']['tls'];

/**
 * Returns the rules for images, by the beginning of their normalised names: the entries of
 * `registries.mirrors` and `registries.prefixes` together.
 */
export function registryRulesOf({ mirrors, prefixes }: Registries): ReadonlyMap<string, PrefixConfig> {
  const short = Object.entries(mirrors).map(([host, { origin, ...mirror }]): [string, PrefixConfig] => [
    normalPrefix(host),
    { blocked: false, mirrors: [mirror], origin },
  ]);
  return new Map([
    ...short,
    ...Object.entries(prefixes).map(([prefix, rule]): [string, PrefixConfig] => [normalPrefix(prefix), rule]),
  ]);
}

/** Returns the problems of these entries that a schema cannot express, one sentence each. */
export function registryProblems(registries: Registries & { readonly tls: Tls }): string[] {
  const problems: string[] = [];
  const seen = new Map<string, string>();
  for (const [section, entries] of Object.entries({
    mirrors: registries.mirrors,
    prefixes: registries.prefixes,
  })) {
    for (const key of Object.keys(entries)) {
      const at = `registries.${section}.${key}`;
      const before = seen.get(normalPrefix(key));
      if (before !== undefined) problems.push(`${at}: ${before} applies to the same names; keep one of them`);
      seen.set(normalPrefix(key), at);
    }
  }
  for (const [host, { url }] of Object.entries(registries.mirrors))
    if (!URL.canParse(url)) problems.push(`registries.mirrors.${host}.url: ${url} is not a URL`);
  for (const [prefix, { blocked, mirrors, origin }] of Object.entries(registries.prefixes)) {
    const at = `registries.prefixes.${prefix}`;
    for (const [index, { url }] of mirrors.entries())
      if (!URL.canParse(url)) problems.push(`${at}.mirrors[${index}].url: ${url} is not a URL`);
    if (blocked && mirrors.length > 0)
      problems.push(`${at}: a blocked name has no mirrors; remove them, or blocked`);
    if (!blocked && !origin && mirrors.length === 0)
      problems.push(`${at}: it has no source; name a mirror, or write blocked: true`);
  }
  for (const [host, { ca, cert, key }] of Object.entries(registries.tls)) {
    if ((cert === undefined) !== (key === undefined))
      problems.push(`registries.tls.${host}: cert and key belong together; give both or none`);
    if (ca.length === 0 && cert === undefined)
      problems.push(`registries.tls.${host}: it has no file; set ca, or cert and key`);
  }
  return problems;
}

/**
 * Names are compared with normalised references (base/distribution, reference.ts): their hosts are in lower
 * case, their addresses are as URLs have them, and their ports have no leading zeros. An entry for `127.1` or
 * for the port 0443 would apply to no name otherwise.
 */
function normalPrefix(prefix: string): string {
  const slash = prefix.indexOf('/');
  const written = (slash === -1 ? prefix : prefix.slice(0, slash)).toLowerCase();
  const [, name = written, port] = /^(.*):(\d+)$/.exec(written.endsWith(']') ? '' : written) ?? [];
  const usual = name.startsWith('*') ? undefined : URL.parse(`http://${name}/`)?.hostname;
  const text = `${usual ?? name}${port === undefined ? '' : `:${Number(port)}`}`;
  const host = canonicalHost(text) ?? text;
  return `${host === 'index.docker.io' ? 'docker.io' : host}${slash === -1 ? '' : prefix.slice(slash)}`;
}
