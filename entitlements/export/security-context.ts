import { CAPABILITIES } from '../capabilities/capability-names.ts';
import type { Profile } from '../profile/model.ts';
import { defaultPolicy } from '../seccomp/default-policy.ts';
import { policyText } from '../seccomp/policy.ts';

/**
 * Returns a Pod with one container whose security context asks for the profile, as far as Kubernetes can
 * express it.
 * @returns the manifest, and the name of the seccomp file that it refers to, if its filter is not the default
 * one
 */
export function podOf(name: string, profile: Profile): { readonly pod: object; readonly localhost?: string } {
  const everything =
    CAPABILITIES.every((one) => profile.capabilities.includes(one)) &&
    !profile.syscalls.filtered &&
    profile.hostDevices;
  const usual =
    profile.syscalls.filtered &&
    policyText(profile.syscalls) === policyText(defaultPolicy(profile.capabilities));
  const localhost = profile.syscalls.filtered && !usual ? `profiles/${name}.json` : undefined;
  const { masked, readonly } = profile.paths;
  const unmasked = masked.length === 0 && readonly.length === 0;
  const container = {
    ...(everything
      ? { privileged: true }
      : {
          allowPrivilegeEscalation: !profile.noNewPrivileges,
          capabilities: {
            drop: ['ALL'],
            ...(profile.capabilities.length === 0 ? {} : { add: profile.capabilities }),
          },
          seccompProfile: seccompField(profile, localhost),
          appArmorProfile: { type: profile.apparmor === 'default' ? 'RuntimeDefault' : 'Unconfined' },
        }),
    ...(profile.readonlyRootfs ? { readOnlyRootFilesystem: true } : {}),
    ...(profile.nonRoot ? { runAsNonRoot: true } : {}),
    ...(unmasked && !everything ? { procMount: 'Unmasked' } : {}),
  };
  const limits = limitsOf(profile);
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      ...(profile.hostNamespaces.includes('network') ? { hostNetwork: true } : {}),
      ...(profile.hostNamespaces.includes('pid') ? { hostPID: true } : {}),
      ...(profile.hostNamespaces.includes('ipc') ? { hostIPC: true } : {}),
      ...(profile.ownNamespaces.includes('user') ? { hostUsers: false } : {}),
      containers: [
        {
          name: 'main',
          image: 'IMAGE',
          securityContext: container,
          ...(limits === undefined ? {} : { resources: { limits } }),
        },
      ],
    },
  };
  return { pod, ...(localhost === undefined ? {} : { localhost }) };
}

function seccompField(profile: Profile, localhost: string | undefined): object {
  if (localhost !== undefined) return { type: 'Localhost', localhostProfile: localhost };
  return { type: profile.syscalls.filtered ? 'RuntimeDefault' : 'Unconfined' };
}

function limitsOf({ resources: { cpu, memory } }: Profile): object | undefined {
  if (cpu === undefined && memory === undefined) return undefined;
  return {
    ...(cpu === undefined ? {} : { cpu: `${cpu}m` }),
    ...(memory === undefined ? {} : { memory: memory.toString() }),
  };
}
