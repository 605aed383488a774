import { servicesMachine } from '../machine.ts';

/** Replaces `namespaces/namespace-id.ts`: the host's own network namespace, of this boot. */
export function ownNamespaceId(): string {
  return `${servicesMachine().bootId}/1`;
}
