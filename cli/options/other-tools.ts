import { Option } from 'commander';
import type { Command } from 'commander';
import { exitCodes } from '../output/output.ts';

/**
 * Adds options of another tool that the command refuses, with the way to get the same here. They are not
 * listed in the help.
 * @param meant by the option of the other tool, which has a value; a sentence without a full stop
 */
export function withRefused(command: Command, meant: Readonly<Record<string, string>>): Command {
  for (const [name, instead] of Object.entries(meant))
    command.addOption(
      new Option(`${name} <value>`).hideHelp().argParser(() =>
        // As commander writes such errors.
        command.error(`error: unknown option '${name}'\n(${instead})`, {
          code: 'commander.unknownOption',
          exitCode: exitCodes.usage,
        }),
      ),
    );
  return command;
}
