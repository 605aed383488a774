import { parseDocuments } from '../../../base/schema/index.ts';
import { importAppArmorText } from '../../../entitlements/import/apparmor-text.ts';
import { importPod } from '../../../entitlements/import/security-context.ts';
import { importSeccomp } from '../../../entitlements/import/seccomp.ts';
import { checkProfiles } from '../../../entitlements/document/check.ts';
import { lintProfiles } from '../../../entitlements/lint/lint.ts';
import { parseSeccompJson } from '../../../entitlements/seccomp/oci-shape.ts';
import { starterProfile } from '../../../entitlements/document/starter.ts';
import { yamlLimits } from './target.ts';
import type { FuzzTarget } from './target.ts';

const profile = `apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: web }
extends: default
entitlements: [network.user, host.devices.none, host.processes.none, security.confined]
files: { read: [/app/**, /etc/ssl/**], write: [/var/cache/app/**] }
network: { egress: [{ to: 10.0.0.0/8, ports: [5432/tcp] }] }
syscalls: { add: [io_uring_setup] }
resources: { memlock: 64Mi }
`;
const seccomp = JSON.stringify({
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 38,
  architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
  syscalls: [
    { names: ['read', 'write', 'exit_group'], action: 'SCMP_ACT_ALLOW' },
    {
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: 2114060288, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    },
    {
      names: ['socket'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: 22,
      args: [{ index: 0, value: 38, op: 'SCMP_CMP_EQ' }],
    },
  ],
});
const apparmor = `#include <tunables/global>
profile web flags=(attach_disconnected,mediate_deleted) {
  #include <abstractions/base>
  capability net_bind_service,
  network inet stream,
  deny /proc/sys/** wklx,
  /app/** mr,
  /var/{cache,log}/app/* rwk,
  mount fstype=tmpfs -> /tmp/,
  signal (send) peer=web,
  ptrace (read),
}
`;
const pod = `apiVersion: v1
kind: Pod
metadata: { name: web, annotations: { portcullis.dev/profile: web } }
spec:
  securityContext: { runAsNonRoot: true, seccompProfile: { type: RuntimeDefault } }
  containers:
    - name: a
      image: a
      securityContext: { privileged: false, capabilities: { drop: [ALL], add: [NET_BIND_SERVICE] }, allowPrivilegeEscalation: false }
`;

export const targets: readonly FuzzTarget[] = [
  {
    name: 'entitlements-yaml',
    group: 'entitlements',
    allows: yamlLimits,
    words: ['---\n', '&a ', '*a', '<<: ', '!!str ', '|\n', '>-\n', '? ', ': ', '- ', '{', '[', '# '],
    seeds: () => [profile, pod, 'a: &x {b: c}\nd: *x\n', '[1, 2.5, ~, true, "x"]'],
    read: (bytes) => parseDocuments(bytes.toString(), 'file.yaml').documents.map(({ value }) => value),
  },
  {
    name: 'entitlements-profile',
    group: 'entitlements',
    allows: yamlLimits,
    words: [
      'EntitlementProfile',
      'ExactProfile',
      'extends',
      'parameters',
      '${',
      'network.user',
      'host.devices',
      '/**',
      '{a,b}',
      '0.0.0.0/0',
      '::/0',
      '1-65535/udp',
      '64Mi',
    ],
    seeds: () => [profile, starterProfile('a')],
    read: (bytes) => checkProfiles([{ file: 'file.yaml', text: bytes.toString() }]),
  },
  {
    name: 'entitlements-lint',
    group: 'entitlements',
    allows: yamlLimits,
    seeds: () => [profile],
    read: (bytes) => lintProfiles([{ file: 'file.yaml', text: bytes.toString() }]),
  },
  {
    name: 'entitlements-seccomp',
    group: 'entitlements',
    words: [
      'SCMP_ACT_ALLOW',
      'SCMP_ACT_ERRNO',
      'SCMP_CMP_MASKED_EQ',
      'SCMP_CMP_NE',
      'SCMP_ARCH_X32',
      'includes',
      'minKernel',
      'clone3',
      'ioctl',
    ],
    seeds: () => [seccomp],
    read: (bytes) =>
      importSeccomp(parseSeccompJson(bytes.toString()), {
        architecture: 'x86_64',
        capabilities: ['CAP_CHOWN'],
        kernel: '6.12',
      }),
  },
  {
    name: 'entitlements-apparmor',
    group: 'entitlements',
    words: [
      'profile ',
      'deny ',
      'capability ',
      'network ',
      'mount ',
      '#include <',
      '@{HOME}',
      '/**',
      '{,',
      '}',
      ' rwklmx,',
      'flags=(',
      'owner ',
    ],
    seeds: () => [apparmor],
    read: (bytes) => importAppArmorText(bytes.toString(), 'file'),
  },
  {
    name: 'entitlements-pod',
    group: 'entitlements',
    allows: yamlLimits,
    seeds: () => [pod],
    read(bytes) {
      const { documents, problems } = parseDocuments(bytes.toString(), 'file.yaml');
      if (problems.length > 0) return problems;
      return documents.map(({ value }) =>
        importPod(value, { profile: () => undefined, seccomp: () => undefined }),
      );
    },
  },
];
