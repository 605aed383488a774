import { AsyncLocalStorage } from 'node:async_hooks';

const scope = new AsyncLocalStorage<Readonly<Record<string, unknown>>>();

/** Runs `body`; every line that it logs, also after its awaits, carries `fields` beside those of the scopes around it. */
export function withLogFields<T>(fields: Readonly<Record<string, unknown>>, body: () => T): T {
  return scope.run({ ...scope.getStore(), ...fields }, body);
}

/** A fresh object with the fields of the scope that this runs in. */
export function scopedFields(): Record<string, unknown> {
  return { ...scope.getStore() };
}
