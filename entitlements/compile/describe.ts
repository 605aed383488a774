import { largest } from '../../base/lists/index.ts';
import { formatRule } from '../profile/devices.ts';
import type { OciSeccomp, RuntimeBounds, Settings } from '../types.ts';
import { formatClause } from '../seccomp/clause.ts';
import { isConstant } from '../seccomp/decision.ts';
import type { Profile } from '../profile/model.ts';
import type { NetworkRule } from '../types.ts';

/**
 * Describes the compiled settings in plain words, one line per subject, for `portcullis entitlements compile
 * --output text`.
 */
export function describeSettings(name: string, profile: Profile, settings: Settings): string {
  const lines: [string, string][] = [
    ['profile', name],
    ['capabilities', listed(settings.capabilities.bounding)],
    ['ambient', ambientText(profile, settings)],
    ...describeSyscalls(profile, settings),
    [
      'privileges',
      settings.noNewPrivileges
        ? 'no program gains any by exec (no_new_privs)'
        : 'set-user-id programs and file capabilities count',
    ],
    ['network', `class ${settings.networkClass}`],
    ['host namespaces', listed(settings.hostNamespaces)],
    [
      'devices',
      settings.hostDevices
        ? "all of the host's"
        : settings.devices
            .filter((rule) => rule.allow)
            .map(formatRule)
            .join(', '),
    ],
    ['masked paths', listed(settings.maskedPaths)],
    ['read-only paths', listed(settings.readonlyPaths)],
    ['root file system', settings.readonlyRootfs ? 'read-only' : 'writable'],
    ['/sys', settings.writableSys ? 'writable' : 'read-only'],
    ['own cgroups', settings.writableCgroups ? 'writable' : 'read-only'],
    ['limits', listed(settings.rlimits.map(({ type, soft, hard }) => `${type} ${soft}/${hard}`))],
    ['AppArmor', settings.apparmor?.name ?? 'no profile'],
    ...(settings.landlock ?? []).map(({ path, kind, access }): [string, string] => [
      'Landlock',
      `${path}${kind === 'folder' ? ' and all below' : ''}: ${access.join(', ')}`,
    ]),
    ...(settings.bounds === undefined
      ? []
      : [['bounds', boundsText(settings.bounds)] satisfies [string, string]]),
    ...(['egress', 'ingress'] as const).flatMap((direction): [string, string][] => {
      const rules = settings.peers?.[direction];
      return rules === undefined
        ? []
        : [[direction, rules.length === 0 ? 'nobody' : rules.map(peerText).join(', ')]];
    }),
    ...settings.degraded.map((sentence): [string, string] => ['degraded', sentence]),
    ['digest', settings.digest],
  ];
  const width = largest(lines.map(([label]) => label.length));
  return lines.map(([label, text]) => `${label.padEnd(width)}  ${text}\n`).join('');
}

/** Settings have the ambient capabilities of a container. A profile has those that a pod may request. */
function ambientText({ ambient: allowed }: Profile, { capabilities: { ambient } }: Settings): string {
  const others = allowed.filter((name) => !ambient.includes(name));
  return others.length === 0 ? listed(ambient) : `${listed(ambient)}; a pod may request ${listed(others)}`;
}

function describeSyscalls(profile: Profile, settings: Settings): [string, string][] {
  const { syscalls } = profile;
  if (!syscalls.filtered || settings.seccomp === undefined) return [['system calls', 'no filter']];
  const rules = [...syscalls.rules];
  const allowed = rules
    .filter(([, rule]) => isConstant(rule) && rule.otherwise === 'allow')
    .map(([name]) => name);
  const conditional = rules.filter(([, rule]) => !isConstant(rule));
  const others = rules.filter(([, rule]) => isConstant(rule) && rule.otherwise !== 'allow');
  return [
    [
      'system calls',
      `${allowed.length} allowed, ${conditional.length} by their arguments, any other answers ${syscalls.fallback}`,
    ],
    ...conditional.flatMap(([name, rule]) =>
      rule.pieces.map((piece): [string, string] => [
        '',
        `${name}: ${piece.outcome} if ${formatClause(piece.when)}`,
      ]),
    ),
    ...others.map(([name, rule]): [string, string] => ['', `${name}: ${rule.otherwise}`]),
    [
      'filter',
      `${settings.seccomp.bpf.length / 8} BPF instructions; ${settings.seccomp.oci.syscalls.length} OCI rules`,
    ],
  ];
}

function peerText({ cidr, protocol, ports: { low, high } }: NetworkRule): string {
  const ports = low === 0 && high === 65535 ? '' : low === high ? `${low}/` : `${low}-${high}/`;
  return `${cidr} ${ports}${protocol}`;
}

function boundsText({ resources, ownNamespaces, readonlyVolumes, nonRoot }: RuntimeBounds): string {
  const parts = [
    ...Object.entries(resources).map(([name, value]) => `${name} ${value}`),
    ...ownNamespaces.map((name) => `its own ${name} namespace`),
    ...(readonlyVolumes ? ['volumes read-only'] : []),
    ...(nonRoot ? ['not as root'] : []),
  ];
  return parts.join(', ');
}

function listed(items: readonly string[]): string {
  return items.length === 0 ? 'none' : items.join(', ');
}

/**
 * Returns the settings as plain JSON values: the program as base64; a 64-bit number that JSON parsers would
 * round becomes a text.
 */
export function settingsToJson(settings: Settings): unknown {
  const { seccomp, rlimits, ...rest } = settings;
  return {
    ...rest,
    rlimits: rlimits.map(({ type, soft, hard }) => ({ type, soft: plain(soft), hard: plain(hard) })),
    ...(seccomp === undefined
      ? {}
      : { seccomp: { bpf: Buffer.from(seccomp.bpf).toString('base64'), oci: ociToJson(seccomp.oci) } }),
  };
}

function ociToJson(oci: OciSeccomp): unknown {
  return {
    ...oci,
    syscalls: oci.syscalls.map(({ args, ...rule }) => ({
      ...rule,
      ...(args === undefined
        ? {}
        : {
            args: args.map((arg) => ({
              ...arg,
              value: plain(arg.value),
              valueTwo: plain(arg.valueTwo ?? 0),
            })),
          }),
    })),
  };
}

function plain(value: number | bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}
