import { appArmorGlob } from '../apparmor/file-rules.ts';
import { expandVariables } from '../import/apparmor-variables.ts';
import type { Remark } from '../import/imported.ts';
import type { FileRules, Profile } from '../profile/model.ts';
import type { FileAccess, NetworkProtocol } from '../types.ts';

/**
 * Returns the structured AppArmor rules of the security-profiles-operator and of KEP-6061 (`executable`,
 * `filesystem`, `network`, `capability`), and the parts of the profile's files that they cannot express.
 */
export function appArmorAbstract(profile: Profile): {
  readonly rules: object;
  readonly unmapped: readonly Remark[];
} {
  const unmapped: Remark[] = [];
  const { files } = profile;
  const [member] = files ?? [];
  if (files !== undefined && files.length > 1)
    unmapped.push({
      part: 'files',
      why: 'only one of several sets of rules can be expressed: the first is used',
    });
  const lists = member === undefined ? everything(files) : listsOf(member);
  return {
    rules: {
      executable: { allowedExecutables: lists.executable },
      filesystem: {
        readOnlyPaths: lists.readOnly,
        writeOnlyPaths: lists.writeOnly,
        readWritePaths: lists.readWrite,
      },
      network: networkOf(profile),
      capability: { allowedCapabilities: profile.capabilities.map((name) => name.toLowerCase()) },
    },
    unmapped,
  };
}

interface Lists {
  readonly executable: readonly string[];
  readonly readOnly: readonly string[];
  readonly writeOnly: readonly string[];
  readonly readWrite: readonly string[];
}

function everything(files: Profile['files']): Lists {
  const all = files === undefined ? [globOf('/**')] : [];
  return { executable: all, readOnly: [], writeOnly: [], readWrite: all };
}

/**
 * A read-only path also denies writing, and a write-only path also denies reading. The exporter compares the
 * result with the profile.
 */
function listsOf({ allow }: FileRules): Lists {
  const having = (wanted: readonly FileAccess[], without: readonly FileAccess[]): string[] =>
    allow
      .filter(
        ({ access }) =>
          wanted.every((name) => access.includes(name)) && !without.some((name) => access.includes(name)),
      )
      .map(({ pattern }) => globOf(pattern));
  return {
    executable: having(['execute', 'read'], []),
    readOnly: having(['read'], ['write', 'execute']),
    writeOnly: having(['write'], ['read', 'execute']),
    readWrite: having(['read', 'write'], []),
  };
}

const NUMBER = appArmorGlob(`/${expandVariables('@{pid}') ?? ''}`).slice(1);

/** Returns a pattern as AppArmor writes it, with `@{pid}` for the number of a process. */
function globOf(pattern: string): string {
  return appArmorGlob(pattern).replaceAll(NUMBER, '@{pid}');
}

/** Returns the protocols with which every address may be reached, and may reach the container. */
function networkOf({ network, egress, ingress, capabilities }: Profile): object {
  const open = (protocol: NetworkProtocol): boolean =>
    network !== 'none' &&
    [egress, ingress].every(
      (rules) =>
        rules === undefined ||
        ['0.0.0.0/0', '::/0'].every((cidr) =>
          rules.some(
            (rule) =>
              rule.protocol === protocol &&
              rule.cidr === cidr &&
              rule.ports.low === 0 &&
              rule.ports.high === 65535,
          ),
        ),
    );
  const raw = open('icmp') && (egress !== undefined || capabilities.includes('NET_RAW'));
  return { allowRaw: raw, allowedProtocols: { allowTcp: open('tcp'), allowUdp: open('udp') } };
}
