import type { CniInterface, CniResult } from '../../spec/result.ts';
import type { PlanInput } from '../contract/contract.ts';
import { PortcullisError } from '../../../base/errors/index.ts';

/** Helpers for the result of the previous plugin. Pure. */

/** @throws NETWORK_PREVIOUS_RESULT_MISSING */
export function previousOf(input: PlanInput, plugin: string): CniResult {
  if (input.prevResult !== undefined) return input.prevResult;
  throw new PortcullisError({
    code: 'NETWORK_PREVIOUS_RESULT_MISSING',
    kind: 'invalid',
    attempted: 'run the plugin',
    on: plugin,
    why: "the configuration has no 'prevResult'",
    fix: 'place the plugin after one that creates an interface; the runtime passes the result of the previous plugin',
  });
}

const isInHost = (entry: CniInterface): boolean => (entry.sandbox ?? '') === '';

/**
 * Returns the names of the host's interfaces that the previous plugins created: the bridge, the host's end of
 * the pod's link.
 */
export const hostInterfaces = (result: CniResult): string[] =>
  result.interfaces.filter(isInHost).map(({ name }) => name);

/** The result with one of the pod's interfaces changed. */
export function withInterface(result: CniResult, name: string, change: Partial<CniInterface>): CniResult {
  return {
    ...result,
    interfaces: result.interfaces.map((entry) =>
      entry.name === name && !isInHost(entry) ? { ...entry, ...change } : entry,
    ),
  };
}
