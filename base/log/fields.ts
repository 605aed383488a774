import { AsyncLocalStorage } from 'node:async_hooks';

const scope = new AsyncLocalStorage<Readonly<Record<string, unknown>>>();

/**
 * Runs `body` and adds `fields` to every line that it logs, also after its awaits. Fields of the enclosing
 * scopes are added too.
 */
export function withLogFields<T>(fields: Readonly<Record<string, unknown>>, body: () => T): T {
  return scope.run({ ...scope.getStore(), ...fields }, body);
}

/** Returns a new object with the fields of the current scope. */
export function scopedFields(): Record<string, unknown> {
  return { ...scope.getStore() };
}
