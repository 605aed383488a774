import { createHash, randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { namePattern } from '../../fleet/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';

interface TokenFlags {
  readonly reader?: boolean;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis fleet token node-7
  $ portcullis fleet token --reader grafana --output json

Prints a new token, and the entry for the file that fleet serve --tokens reads. Neither is stored.
Exit status: 0 printed; 2 wrong use.`;

/** `portcullis fleet token`: makes a token. */
export function registerToken(fleet: Command): void {
  const command = fleet
    .command('token')
    .description('make a token for a node, or for a reader')
    .argument('<name>', 'name of the node (fleet.node in its configuration), or of the reader')
    .option('--reader', 'make a token for a reader');
  withOutput(command)
    .addHelpText('after', examples)
    .action((name: string, flags: TokenFlags) => run(flags.output, () => Promise.resolve(make(name, flags))));
}

function make(name: string, { reader = false, output }: TokenFlags): number {
  if (!namePattern.test(name))
    throw new PortcullisError({
      code: 'CLI_MISUSE',
      kind: 'invalid',
      attempted: 'make a token for',
      on: name,
      why: 'a name has letters, digits, dots, dashes and underscores, and at most 253 of them',
      fix: 'give another name',
    });
  const token = randomBytes(32).toString('base64url');
  const sha256 = createHash('sha256').update(token).digest('hex');
  const group = reader ? 'readers' : 'nodes';
  // YAML reads some names as numbers or as null, such as 1.10, which would be the node 1.1.
  print(
    output,
    { token, [group]: { [name]: { sha256 } } },
    `token:  ${token}\n\n${group}:\n  '${name}': { sha256: '${sha256}' }\n`,
  );
  return exitCodes.yes;
}
