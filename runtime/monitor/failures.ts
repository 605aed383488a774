import { PortcullisError } from '../../base/errors/index.ts';
import { namesShortage, plainMessage, withCause } from '../oci/runtime-message.ts';

/** Messages of crun and runc about the memory limit of the container. crun adds the error of another call. */
const tooLow = /memory limit (?:could be )?too low/iu;

/**
 * Messages of crun and runc when one of their processes has ended without a message, for example by a signal.
 */
const cutOff =
  /^(?:read|write) .*sync socket|^read from the init process|procReady not received|write sync: broken pipe/mu;

/** crun adds the error of an earlier call that has nothing to do with it, such as `File exists`. */
const earlierError = /^((?:read|write) .*sync socket|read from the init process): .*$/gmu;

/**
 * Returns the error for a container that the runtime did not create, with the runtime's message. The request
 * is usually the cause: a program that is not in the image, or a limit that the kernel does not accept. The
 * kind is then `precondition`, and `exhausted` if the node lacked a resource.
 */
export function refused(id: string, runtime: string, message: string): PortcullisError {
  const said = withCause(plainMessage(message).trim().slice(0, 2_000));
  if (said === '') return createFailed(id, 'internal', `${runtime} gave no reason`);
  if (cutOff.test(said)) {
    const what = said.replaceAll(earlierError, '$1');
    const why = `a process of ${runtime} was killed, or ended for lack of memory (${what})`;
    return createFailed(id, 'internal', why);
  }
  return createFailed(
    id,
    namesShortage(said) && !tooLow.test(said) ? 'exhausted' : 'precondition',
    `${runtime} said: ${said}`,
  );
}

/** Returns the error for a container that was not created. @param kind `precondition`: the request is why */
export function createFailed(
  id: string,
  kind: 'precondition' | 'exhausted' | 'internal',
  why: string,
): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_CREATE_FAILED',
    kind,
    attempted: 'create container',
    on: id.slice(0, 13),
    why,
    fix:
      kind === 'precondition'
        ? 'correct the cause that the runtime names'
        : 'repeat the request; check whether the node has free memory, processes and disk space, and whether the memory limit of the container is too low',
  });
}

/** Returns the error for a monitor that did not start, or did not do its work. */
export function monitorFailed(
  id: string,
  why: string,
  fix: string,
  kind: 'internal' | 'exhausted' = 'internal',
): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_MONITOR_FAILED',
    kind,
    attempted: 'start the monitor of container',
    on: id.slice(0, 13),
    why,
    fix,
  });
}
