import { capabilityName, sortedCapabilities } from '../capabilities/names.ts';
import { entitlementsError } from '../errors.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { FileAccess, FileRule, NetworkProtocol, NetworkRule, Profile } from '../profile/model.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { expandVariables } from './apparmor-variables.ts';
import type { Imported, Remark } from './imported.ts';

type Fields = Readonly<Record<string, unknown>>;

const EVERYWHERE: readonly string[] = ['0.0.0.0/0', '::/0'];

/**
 * The structured AppArmor rules of the security-profiles-operator's AppArmorProfile (`spec.abstract`) and of KEP-6061's artifacts, as the
 * profile of a container that is confined by them: what is not allowed is denied (the operator's template, crd2armor).
 * @throws ENTITLEMENTS_BAD_PROFILE
 */
export function importAppArmorAbstract(json: unknown, at: string): Imported {
  const unmapped: Remark[] = [];
  const notes: Remark[] = [];
  const top = fields(json, at);
  for (const key of Object.keys(top)) {
    if (!['executable', 'filesystem', 'network', 'capability'].includes(key))
      unmapped.push({ part: path(at, key), why: 'nothing is known of this field' });
  }
  const executable = member(top, 'executable', at);
  const filesystem = member(top, 'filesystem', at);
  const places = (from: Fields, section: string, key: string): string[] =>
    texts(from[key], path(at, `${section}.${key}`)).flatMap((text, index) =>
      readPath(text, path(at, `${section}.${key}[${index}]`), unmapped),
    );
  const libraries = places(executable, 'executable', 'allowedLibraries');
  if (libraries.length > 0)
    notes.push({ part: path(at, 'executable.allowedLibraries'), why: 'mapping a file as code and running it are one access here' });
  const readOnly = places(filesystem, 'filesystem', 'readOnlyPaths');
  const writeOnly = places(filesystem, 'filesystem', 'writeOnlyPaths');
  const rule =
    (access: readonly FileAccess[]) =>
    (pattern: string): FileRule => ({ pattern, access });
  const allow = [
    ...[...places(executable, 'executable', 'allowedExecutables'), ...libraries].map(rule(['execute', 'read'])),
    ...readOnly.map(rule(['read'])),
    ...writeOnly.map(rule(['write'])),
    ...places(filesystem, 'filesystem', 'readWritePaths').map(rule(['read', 'write'])),
  ];
  const deny = [...readOnly.map(rule(['write'])), ...writeOnly.map(rule(['read']))];
  const network = networkOf(member(top, 'network', at), at);
  if (network.raw) notes.push({ part: path(at, 'network.allowRaw'), why: 'raw sockets need the capability NET_RAW as well' });
  const capability = member(top, 'capability', at);
  const capabilities = sortedCapabilities(
    texts(capability['allowedCapabilities'], path(at, 'capability.allowedCapabilities')).map((text, index) => {
      const name = capabilityName(text);
      if (name === undefined) throw bad(path(at, `capability.allowedCapabilities[${index}]`), `there is no capability ${text}`);
      return name;
    }),
  );
  notes.push({
    part: path(at, 'abstractions/base'),
    why: 'what AppArmor’s template adds for libc (locale files, /dev/null …) is not granted: name it',
  });
  const base = defaultProfile();
  const profile: Profile = {
    ...base,
    capabilities,
    syscalls: defaultPolicy(capabilities),
    files: [{ allow: merged(allow), deny: merged(deny) }],
    network: network.protocols.length === 0 ? 'none' : network.raw ? 'proxy' : 'user',
    ...(network.protocols.length === 0 ? {} : { egress: rulesOf(network.protocols), ingress: rulesOf(network.protocols) }),
  };
  return { profile, unmapped, notes };
}

function networkOf(network: Fields, at: string): { readonly protocols: readonly NetworkProtocol[]; readonly raw: boolean } {
  const protocols = member(network, 'allowedProtocols', path(at, 'network'));
  const raw = flag(network['allowRaw'], path(at, 'network.allowRaw'));
  const found: NetworkProtocol[] = [];
  if (raw) found.push('icmp');
  if (flag(protocols['allowTcp'], path(at, 'network.allowedProtocols.allowTcp'))) found.push('tcp');
  if (flag(protocols['allowUdp'], path(at, 'network.allowedProtocols.allowUdp'))) found.push('udp');
  return { protocols: found, raw };
}

function rulesOf(protocols: readonly NetworkProtocol[]): NetworkRule[] {
  return EVERYWHERE.flatMap((cidr) => protocols.map((protocol) => ({ cidr, protocol, ports: { low: 0, high: 65535 } })));
}

/** One rule a pattern, sorted. */
function merged(rules: readonly FileRule[]): FileRule[] {
  const byPattern = new Map<string, Set<FileAccess>>();
  for (const { pattern, access } of rules) {
    const found = byPattern.get(pattern) ?? new Set<FileAccess>();
    for (const name of access) found.add(name);
    byPattern.set(pattern, found);
  }
  return [...byPattern].sort(([a], [b]) => (a < b ? -1 : 1)).map(([pattern, access]) => ({ pattern, access: [...access].sort() }));
}

function readPath(text: string, part: string, unmapped: Remark[]): string[] {
  const pattern = expandVariables(text);
  if (pattern === undefined || !pattern.startsWith('/')) {
    unmapped.push({
      part,
      why: `${JSON.stringify(text.slice(0, 80))} is no path, or has a variable without a known value: it grants nothing here`,
    });
    return [];
  }
  const parsed = parsePathPattern(pattern);
  if (!('problem' in parsed)) return [pattern];
  unmapped.push({ part, why: `${text}: ${parsed.problem.message}: it grants nothing here` });
  return [];
}

function path(at: string, key: string): string {
  return at === '' ? key : `${at}.${key}`;
}

function fields(value: unknown, at: string): Fields {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw bad(at, 'it is not an object');
  return value as Fields;
}

function member(value: Fields, key: string, at: string): Fields {
  return fields(value[key], path(at, key));
}

function texts(value: unknown, at: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw bad(at, 'it is not a list');
  return value.map((item, index) => {
    if (typeof item !== 'string') throw bad(`${at}[${index}]`, 'it is not a text');
    return item;
  });
}

function flag(value: unknown, at: string): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== 'boolean') throw bad(at, 'it is not true or false');
  return value;
}

function bad(at: string, why: string): Error {
  return entitlementsError('ENTITLEMENTS_BAD_PROFILE', {
    kind: 'invalid',
    attempted: 'read AppArmor rules',
    on: at,
    why,
    fix: 'write them as the security-profiles-operator’s AppArmorProfile has them under spec.abstract',
  });
}
