/**
 * The third entry point of this folder, for clients of a CRI socket: the client, and the constants of its
 * messages, without the daemon's modules. It loads in a fifth of the time of `index.ts`, which matters to the
 * many processes that only ask a daemon, such as most test files.
 */
export { createCriClient } from './cri/client.ts';
export type { CriClient } from './cri/client.ts';
export { ContainerEventType, ContainerState, PodSandboxState } from './cri/contract/contract.types.ts';
export type {
  Container,
  ContainerEventResponse as ContainerEvent,
  PodSandbox,
} from './cri/contract/contract.types.ts';
