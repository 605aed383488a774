import { servicesMachine } from '../machine.ts';

/** In the place of `attach/realm.ts`: the host's own network namespace, of this boot. */
export function ownRealm(): string {
  return `${servicesMachine().bootId}/1`;
}
