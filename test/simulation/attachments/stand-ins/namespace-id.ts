import { attachmentsMachine } from '../machine.ts';

/** Replaces `namespaces/namespace-id.ts`: the host's own network namespace, of this boot. */
export const bootOf = (): string => attachmentsMachine().bootId;

export function namespaceIdOf(_socketFd: number, _nsPath: string): string {
  return `${bootOf()}/1`;
}
