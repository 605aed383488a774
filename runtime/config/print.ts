import { stringify } from 'yaml';
import type { DaemonConfig } from './types.ts';

/** The effective configuration as a `config.yaml` that loads to the same. */
export function formatDaemonConfig(config: DaemonConfig): string {
  return stringify(config, { lineWidth: 0, singleQuote: true });
}
