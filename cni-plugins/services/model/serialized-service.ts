import type { Service } from './model.ts';

const known = new WeakMap<Service, string>();

/**
 * Returns a service as JSON. A source compares this text with what it passed on before, and the control
 * stores it, so it is written once for each object.
 */
export function serializeService(service: Service): string {
  const before = known.get(service);
  if (before !== undefined) return before;
  const text = JSON.stringify(service);
  known.set(service, text);
  return text;
}
