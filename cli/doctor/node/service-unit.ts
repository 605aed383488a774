import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Finding } from '../finding.ts';
import { readDirectives, readUnit } from './unit-file.ts';
import type { Unit } from './unit-file.ts';

/** Directives that a unit may extend or set to other values. */
const own = new Set(['Service.ExecStart', 'Unit.Description', 'Unit.Documentation', 'Install.WantedBy']);
/**
 * Directives that give the daemon a mount namespace. It would hide the root file systems of containers from
 * the node.
 */
const hiding =
  /^Service\.(ProtectSystem|ProtectHome|ProtectKernel\w+|ProtectControlGroups|PrivateTmp|PrivateDevices|PrivateMounts|PrivateUsers|PrivateNetwork|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|TemporaryFileSystem|RootDirectory|RootImage|DynamicUser)$/;
/** Directives that containers would inherit. */
const inherited =
  /^Service\.(NoNewPrivileges|RestrictNamespaces|RestrictSUIDSGID|LockPersonality|MemoryDenyWriteExecute|RestrictAddressFamilies)$/;
const isOff = (values: readonly string[]): boolean =>
  ['', 'no', 'false', '0', 'off'].includes((values.at(-1) ?? '').toLowerCase());

/**
 * Compares the daemon's systemd service with the unit that this package ships, and checks that the kubelet
 * starts after it.
 * @param root the root of the file system, `/`
 * @param packageRoot holds `packaging/systemd`
 */
export function serviceFindings(root: string, packageRoot: string): readonly Finding[] {
  const shipped = join(packageRoot, 'packaging/systemd');
  if (!existsSync(join(root, 'run/systemd/system')))
    return [
      {
        topic: 'systemd',
        state: 'fine',
        found: 'does not run here: the program that starts the daemon must also restart it',
      },
    ];
  const unit = readUnit('portcullisd.service', root);
  if (unit === undefined) {
    return [
      {
        topic: 'portcullisd.service',
        state: 'degraded',
        found: 'not installed',
        meaning: ['nothing starts the daemon at boot, or restarts it when it ends or hangs'],
        fix: `cp ${shipped}/portcullisd.service /etc/systemd/system/ && systemctl daemon-reload && systemctl enable --now portcullisd`,
      },
    ];
  }
  const expected = readDirectives([readFileSync(join(shipped, 'portcullisd.service'), 'utf8')]);
  return [installed(unit, root), hardening(unit, expected, shipped), ...kubeletOrder(root, shipped)];
}

function installed(unit: Unit, root: string): Finding {
  const topic = 'portcullisd.service';
  const command =
    (unit.directives.get('Service.ExecStart')?.at(-1) ?? '').replace(/^[-@:+!|]+/, '').split(/\s+/)[0] ?? '';
  const found = unit.files.join(', ');
  if (command === '' || !existsSync(join(root, command))) {
    const meaning = [`it starts ${command === '' ? 'nothing' : command}, which does not exist`];
    return {
      topic,
      state: 'degraded',
      found,
      meaning,
      fix: 'ExecStart= must name what `command -v portcullisd` prints',
    };
  }
  if (unit.enabled) return { topic, state: 'fine', found };
  return {
    topic,
    state: 'degraded',
    found,
    meaning: ['nothing starts it at boot'],
    fix: 'systemctl enable portcullisd',
  };
}

/** Reports directives of the shipped unit that this unit lacks, and directives that must not be set. */
function hardening(unit: Unit, expected: ReadonlyMap<string, readonly string[]>, shipped: string): Finding {
  const topic = 'its hardening';
  const differs = [...expected].flatMap(([name, values]) => {
    if (own.has(name)) return [];
    const has = unit.directives.get(name) ?? [];
    return values.every((value) => has.includes(value))
      ? []
      : [`${name.replace(/^\w+\./, '')}=${values.join(' ')} of the shipped unit is not in force`];
  });
  const harmful = [...unit.directives].flatMap(([name, values]) => {
    if (isOff(values)) return [];
    const said = `${name.replace(/^\w+\./, '')}=${values.join(' ')}`;
    if (hiding.test(name))
      return [`${said} hides the root file systems and namespaces of pods from the node`];
    return inherited.test(name) ? [`${said} also restricts every container`] : [];
  });
  const restricted = unit.directives.has('Service.CapabilityBoundingSet');
  const found = restricted ? 'restricted: for nodes where nothing privileged runs' : 'as shipped';
  const meaning = [...differs, ...harmful];
  if (meaning.length === 0) return { topic, state: 'fine', found };
  return {
    topic,
    state: 'degraded',
    found: 'differs',
    meaning,
    fix: `compare it with ${shipped}/portcullisd.service`,
  };
}

function kubeletOrder(root: string, shipped: string): readonly Finding[] {
  const kubelet = readUnit('kubelet.service', root);
  if (kubelet === undefined) return [];
  const topic = 'kubelet.service';
  const after = (kubelet.directives.get('Unit.After') ?? []).join(' ').split(/\s+/);
  if (after.includes('portcullisd.service'))
    return [{ topic, state: 'fine', found: 'starts after its runtime' }];
  return [
    {
      topic,
      state: 'degraded',
      found: 'is not ordered after its runtime',
      meaning: ['at boot the kubelet may start first, and fails until the daemon serves'],
      fix: `install -D -m 644 ${shipped}/kubelet-portcullis.conf /etc/systemd/system/kubelet.service.d/20-portcullis.conf`,
    },
  ];
}
