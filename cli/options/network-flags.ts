import { Option } from 'commander';
import type { Command } from 'commander';

/** Adds the options of commands that read and change networks, with the daemon's defaults. */
export function withNetworkFlags(command: Command): Command {
  return command
    .option('--conf-dir <dir>', 'folder of network configurations', '/etc/cni/net.d')
    .option('--root <dir>', "the daemon's root folder, with network.db", '/var/lib/portcullis')
    .addOption(
      new Option('--plugins <how>', "the daemon's setting network.plugins")
        .choices(['auto', 'exec'])
        .default('auto'),
    );
}
