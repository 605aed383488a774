import { kernelError } from '../../../../base/kernel/index.ts';
import { attachmentsMachine, effect } from '../machine.ts';
import type { Namespace } from '../host.ts';

/**
 * Replaces `base/kernel` in `database/database.ts`, `netns.ts` and `caller.ts`: descriptors of simulated
 * namespaces.
 */
export * from '../../../../base/kernel/index.ts';

const descriptors = new Map<number, Namespace>();
let last = 100;
let entered: Namespace | undefined;

/** Returns the namespace of a descriptor. @throws Error if the daemon uses a descriptor that it has closed */
export function opened(fd: number): Namespace {
  const found = descriptors.get(fd);
  if (found === undefined) throw new Error(`descriptor ${fd} is not open`);
  return found;
}

/** The namespace in which sockets are created now; undefined: the host's own. */
export const enteredNamespace = (): Namespace | undefined => entered;

export function openFile(path: string): number {
  return effect(
    'read',
    'opening of a namespace',
    (errno) => kernelError(errno, 'open', path),
    () => {
      const namespace = attachmentsMachine().host.namespace(path);
      if (namespace === undefined) throw kernelError('ENOENT', 'open', path);
      last += 1;
      descriptors.set(last, namespace);
      return last;
    },
  );
}

export function closeFd(fd: number): void {
  descriptors.delete(fd);
}

export const isNamespaceOf = (): boolean => true;

export function inNamespaces<T>({ net = 0 }: { readonly net?: number }, body: () => T): T {
  entered = opened(net);
  try {
    return body();
  } finally {
    entered = undefined;
  }
}

export function lockFile(): void {
  // Only one process uses the simulated database.
}

export function unlockFile(): void {
  // Only one process uses the simulated database.
}
