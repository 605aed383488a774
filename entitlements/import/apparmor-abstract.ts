import { fileRules } from '../catalog/part.ts';
import { capabilityName, sortedCapabilities } from '../capabilities/capability-names.ts';
import { entitlementsError } from '../errors.ts';
import { parsePathPattern } from '../files/path-pattern.ts';
import { defaultProfile } from '../profile/builtin.ts';
import type { FileRule, Profile } from '../profile/model.ts';
import type { FileAccess, NetworkProtocol, NetworkRule } from '../types.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { appArmorPathPattern } from './apparmor-variables.ts';
import type { Imported, Remark } from './imported.ts';
import { unknownField, unknownFieldText } from './known-fields.ts';
import type { Fields } from './kubernetes-fields.ts';

const EVERYWHERE: readonly string[] = ['0.0.0.0/0', '::/0'];

/**
 * Imports the structured AppArmor rules of the security-profiles-operator's AppArmorProfile (`spec.abstract`)
 * and of KEP-6061's artifacts, as the profile of a container that is confined by them: what is not allowed is
 * denied (the operator's template, crd2armor).
 * @throws ENTITLEMENTS_BAD_PROFILE
 */
export function importAppArmorAbstract(json: unknown, at: string): Imported {
  const unmapped: Remark[] = [];
  const notes: Remark[] = [];
  const top = closed(fields(json, at), ['executable', 'filesystem', 'network', 'capability'], at);
  const executable = member(top, 'executable', ['allowedExecutables', 'allowedLibraries'], at);
  const filesystem = member(top, 'filesystem', ['readOnlyPaths', 'readWritePaths', 'writeOnlyPaths'], at);
  const places = (from: Fields, section: string, key: string, denies = false): string[] =>
    texts(from[key], path(at, `${section}.${key}`)).flatMap((text, index) =>
      readPath(text, path(at, `${section}.${key}[${index}]`), denies, unmapped),
    );
  const libraries = places(executable, 'executable', 'allowedLibraries');
  if (libraries.length > 0)
    notes.push({
      part: path(at, 'executable.allowedLibraries'),
      why: 'read access includes mapping a file as code',
    });
  const readOnly = places(filesystem, 'filesystem', 'readOnlyPaths', true);
  const writeOnly = places(filesystem, 'filesystem', 'writeOnlyPaths', true);
  const rule =
    (access: readonly FileAccess[]) =>
    (pattern: string): FileRule => ({ pattern, access });
  const allow = [
    ...places(executable, 'executable', 'allowedExecutables').map(rule(['execute', 'read'])),
    ...libraries.map(rule(['read'])),
    ...readOnly.map(rule(['read'])),
    ...writeOnly.map(rule(['write'])),
    ...places(filesystem, 'filesystem', 'readWritePaths').map(rule(['read', 'write'])),
  ];
  const deny = [...readOnly.map(rule(['write'])), ...writeOnly.map(rule(['read']))];
  const network = networkOf(member(top, 'network', ['allowRaw', 'allowedProtocols'], at), at);
  if (network.raw)
    notes.push({
      part: path(at, 'network.allowRaw'),
      why: 'raw sockets need the capability NET_RAW as well',
    });
  const capability = member(top, 'capability', ['allowedCapabilities'], at);
  const capabilities = sortedCapabilities(
    texts(capability['allowedCapabilities'], path(at, 'capability.allowedCapabilities')).map(
      (text, index) => {
        const name = capabilityName(text);
        if (name === undefined)
          throw bad(path(at, `capability.allowedCapabilities[${index}]`), `there is no capability ${text}`);
        return name;
      },
    ),
  );
  notes.push({
    part: path(at, 'abstractions/base'),
    why: 'files that AppArmor’s template adds for libc (locale files, /dev/null …) are not granted: name them',
  });
  const base = defaultProfile();
  const profile: Profile = {
    ...base,
    capabilities,
    syscalls: defaultPolicy(capabilities),
    files: [{ allow: fileRules(allow), deny: fileRules(deny) }],
    network: network.protocols.length === 0 ? 'none' : network.raw ? 'proxy' : 'user',
    egress: rulesOf(network.protocols),
    ingress: rulesOf(network.protocols),
  };
  return { profile, unmapped, notes };
}

function networkOf(
  network: Fields,
  at: string,
): { readonly protocols: readonly NetworkProtocol[]; readonly raw: boolean } {
  const protocols = member(network, 'allowedProtocols', ['allowTcp', 'allowUdp'], path(at, 'network'));
  const raw = flag(network['allowRaw'], path(at, 'network.allowRaw'));
  const found: NetworkProtocol[] = [];
  if (raw) found.push('icmp');
  if (flag(protocols['allowTcp'], path(at, 'network.allowedProtocols.allowTcp'))) found.push('tcp');
  if (flag(protocols['allowUdp'], path(at, 'network.allowedProtocols.allowUdp'))) found.push('udp');
  return { protocols: found, raw };
}

function rulesOf(protocols: readonly NetworkProtocol[]): NetworkRule[] {
  return EVERYWHERE.flatMap((cidr) =>
    protocols.map((protocol) => ({ cidr, protocol, ports: { low: 0, high: 65535 } })),
  );
}

/** @param denies whether access that is not granted there is denied. Such a denial must not be lost */
function readPath(text: string, part: string, denies: boolean, unmapped: Remark[]): string[] {
  const pattern = appArmorPathPattern(text);
  if (pattern === undefined || !pattern.startsWith('/')) {
    if (denies)
      throw bad(
        part,
        'it is not a path, or has a part without a known meaning, and it denies what it does not grant',
      );
    unmapped.push({
      part,
      why: `${JSON.stringify(text.slice(0, 80))} is not a path, or has a part without a known meaning: it grants nothing here`,
    });
    return [];
  }
  const parsed = parsePathPattern(pattern);
  if (!('problem' in parsed)) return [pattern];
  if (denies) throw bad(part, `${parsed.problem.message}, and it denies what it does not grant`);
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

function member(value: Fields, key: string, known: readonly string[], at: string): Fields {
  return closed(fields(value[key], path(at, key)), known, path(at, key));
}

/** Refuses unknown fields, because a skipped field may be a denial: `readOnlyPaths` denies writing. */
function closed(value: Fields, known: readonly string[], at: string): Fields {
  const unknown = unknownField(value, known);
  if (unknown !== undefined) throw bad(path(at, unknown.key), unknownFieldText(unknown));
  return value;
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
