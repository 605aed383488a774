import { servicesMachine } from '../machine.ts';

/** Replaces `attach/realm.ts`: the host's own network namespace, of this boot. */
export function ownRealm(): string {
  return `${servicesMachine().bootId}/1`;
}
