import type { Command } from 'commander';
import { Argument } from 'commander';
import { exitCodes, print } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';
import { ownerHelp, performOwner, thresholdOf, withOwner } from '../options/owner-options.ts';
import type { OwnerFlags } from '../options/owner-options.ts';

type Role = 'root' | 'targets' | 'snapshot' | 'timestamp';

interface RotateFlags extends OwnerFlags {
  readonly newKey: readonly string[];
  readonly threshold: string;
  readonly serverManaged: boolean;
}

const examples = `
Examples:
  $ portcullis trust rotate registry.example.com/pay/app timestamp                     a new key of this folder
  $ portcullis trust rotate registry.example.com/pay/app snapshot --server-managed     the service makes a key, and signs from now on
  $ portcullis trust rotate pay root --new-key a.pub --new-key b.pub --threshold 2 --key old-root.pem

The root is signed by its former keys and its new ones; a lost key of any other role is replaced by the root alone.
${ownerHelp}`;

export function registerRotate(trust: Command): void {
  const command = trust
    .command('rotate')
    .description('stage new keys for a role, for example after a key was lost or stolen')
    .argument('<name>', 'name of the collection')
    .addArgument(
      new Argument('<role>', 'role that gets the new keys').choices([
        'root',
        'targets',
        'snapshot',
        'timestamp',
      ]),
    )
    .option(
      '--new-key <file>',
      'public key, certificate, private key or pkcs11: URI; may be repeated; default: a new key',
      collect,
      [],
    )
    .option('--threshold <count>', 'how many of them must sign', '1')
    .option('--server-managed', 'the service makes the key and signs with it', false)
    .addHelpText('after', examples);
  withOwner(command).action((name: string, role: Role, flags: RotateFlags) => {
    const managed = flags.serverManaged;
    if (managed && (role === 'root' || role === 'targets'))
      return command.error(`error: --server-managed: a service never holds ${role} keys`, {
        exitCode: exitCodes.usage,
      });
    const threshold = thresholdOf(command, flags.threshold);
    return performOwner(name, flags, async (owner) => {
      if (managed && role !== 'root' && role !== 'targets') await owner.rotateToServer(role);
      else await owner.rotate(role, { files: flags.newKey, threshold });
      print(
        flags.output,
        { name, role, serverManaged: managed },
        `staged new keys for ${role}${managed ? ', held by the service' : ''}\n`,
      );
      return exitCodes.yes;
    });
  });
}
