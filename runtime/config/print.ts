import { stringify } from 'yaml';
import { applyFlags } from './flags.ts';
import type { FlagValues } from './flags.ts';
import type { DaemonConfig } from './types.ts';

/** Formats the effective configuration as a `config.yaml` that loads to the same configuration. */
export function formatDaemonConfig(config: DaemonConfig): string {
  return stringify(config, { lineWidth: 0, singleQuote: true });
}

/**
 * Formats a `config.yaml` that sets what these flags of the daemon set. `loadDaemonConfig` checks their
 * values.
 * @param resolve makes paths absolute
 */
export function formatFlags(flags: FlagValues, resolve: (path: string) => string): string {
  return stringify(applyFlags({}, flags, resolve).value, { lineWidth: 0, singleQuote: true });
}
