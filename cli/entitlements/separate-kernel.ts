import { PortcullisError } from '../../base/errors/index.ts';

/** The handlers in the configuration that the daemon reports. Earlier versions report less. */
export interface ReportedHandlers {
  /** The handler of pods that name none. */
  readonly defaultRuntime?: string;
  /** The handlers whose containers have another kernel than that of the node. */
  readonly separateKernels?: readonly string[];
}

/**
 * Refuses a container whose handler gives it another kernel than that of the node: its process on the node
 * is that of the sandbox, whose filter and capabilities are not those of the container.
 * @param asked the handler that its pod names; empty: the default
 * @throws PortcullisError CLI_UNPROVABLE
 */
export function requireNodeKernel(
  attempted: 'inspect container' | 'prove filter of container',
  container: string,
  asked: string | undefined,
  { defaultRuntime = '', separateKernels = [] }: ReportedHandlers,
): void {
  const handler = asked === undefined || asked === '' ? defaultRuntime : asked;
  if (!separateKernels.includes(handler)) return;
  throw new PortcullisError({
    code: 'CLI_UNPROVABLE',
    kind: 'precondition',
    attempted,
    on: container,
    why: `the runtime handler ${handler} runs it on a separate kernel, whose state the node cannot read`,
    fix: 'see `degraded` in the verbose status of the container for what this kernel does not enforce',
  });
}
