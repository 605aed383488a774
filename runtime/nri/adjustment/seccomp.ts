import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { LinuxSeccomp } from '../protocol/contract.types.ts';
import type { OwnedChange } from './merge.ts';
import { badAdjustment, unsupported } from './refusal.ts';

/**
 * Returns the seccomp policy of a plugin as an OCI object (runtime-spec config-linux.md, Seccomp). Pure. Its
 * content is checked with the confinement of the container, like a profile of the kubelet.
 * @throws PortcullisError NRI_UNSUPPORTED, NRI_BAD_ADJUSTMENT
 */
export function seccompObject(change: OwnedChange, config: Pick<ContainerConfig, 'linux'>): object {
  const policy = change.value as LinuxSeccomp;
  if (policy.listenerPath !== '' || policy.listenerMetadata !== '')
    throw unsupported(change, 'it names a listener', 'use a policy without a listener');
  if (config.linux?.securityContext?.privileged === true)
    throw unsupported(
      change,
      'a privileged container has no seccomp filter',
      'do not adjust privileged containers',
    );
  const values = policy.syscalls.flatMap(({ args }) => args.flatMap((arg) => [arg.value, arg.valueTwo]));
  if (!values.every(Number.isSafeInteger))
    throw badAdjustment(change, 'an argument is compared with a value above 2^53', 'compare only 32 bits');
  return {
    defaultAction: policy.defaultAction,
    ...(policy.defaultErrno !== undefined && { defaultErrnoRet: policy.defaultErrno.value }),
    ...(policy.architectures.length > 0 && { architectures: policy.architectures }),
    ...(policy.flags.length > 0 && { flags: policy.flags }),
    syscalls: policy.syscalls.map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet !== undefined && { errnoRet: errnoRet.value }),
      ...(args.length > 0 && { args }),
    })),
  };
}
