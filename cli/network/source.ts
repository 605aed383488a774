import type { Command } from 'commander';
import { join, resolve } from 'node:path';
import type { ReportSource } from '../../cni-plugins/index.ts';
import { withAdminSocket } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import { withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { withNetworkFlags } from '../options/network-flags.ts';

/** Locations of networks, for every `network` command. */
export interface Flags extends AdminFlags {
  readonly confDir: string;
  readonly root: string;
  readonly plugins: 'auto' | 'exec';
  readonly output: OutputFormat;
}

export function withSource(command: Command): Command {
  return withNetworkFlags(withAdminSocket(withOutput(command)));
}

export const sourceOf = ({ confDir, root, plugins }: Flags): ReportSource => ({
  databasePath: join(resolve(root), 'network.db'),
  confDir: resolve(confDir),
  choice: { plugins, maxConfigs: 1 },
});
