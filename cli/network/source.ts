import { Option } from 'commander';
import type { Command } from 'commander';
import { join, resolve } from 'node:path';
import type { ReportSource } from '../../cni-plugins/index.ts';
import { withAdminSocket } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import { withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

/** Locations of networks, for every `network` command. */
export interface Flags extends AdminFlags {
  readonly confDir: string;
  readonly root: string;
  readonly plugins: 'auto' | 'exec';
  readonly output: OutputFormat;
}

export function withSource(command: Command): Command {
  return withAdminSocket(withOutput(command))
    .option('--conf-dir <dir>', 'folder of network configurations', '/etc/cni/net.d')
    .option('--root <dir>', "the daemon's root folder, with network.db", '/var/lib/portcullis')
    .addOption(
      new Option('--plugins <how>', "the daemon's setting network.plugins")
        .choices(['auto', 'exec'])
        .default('auto'),
    );
}

export const sourceOf = ({ confDir, root, plugins }: Flags): ReportSource => ({
  databasePath: join(resolve(root), 'network.db'),
  confDir: resolve(confDir),
  choice: { plugins, maxConfigs: 1 },
});
