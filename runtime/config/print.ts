import { stringify } from 'yaml';
import type { DaemonConfig } from './types.ts';

/** Formats the effective configuration as a `config.yaml` that loads to the same configuration. */
export function formatDaemonConfig(config: DaemonConfig): string {
  return stringify(config, { lineWidth: 0, singleQuote: true });
}
