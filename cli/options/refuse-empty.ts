import type { Command } from 'commander';

/**
 * Refuses an empty argument or value of an option: it usually comes from a variable of a script that is not
 * set, and an empty path would mean the current folder. Words of a command to run may be empty.
 * @throws CommanderError
 */
export function refuseEmpty(command: Command): void {
  for (const [index, argument] of command.registeredArguments.entries())
    if (argument.name() !== 'command' && isEmpty(command.processedArgs[index]))
      refuse(command, `command-argument value '' is invalid for argument '${argument.name()}'. It is empty.`);
  for (const option of command.options) {
    const name = option.attributeName();
    if (command.getOptionValueSource(name) === 'cli' && isEmpty(command.getOptionValue(name)))
      refuse(
        command,
        `option '${option.flags}' argument '' is invalid. It is empty: give a value${option.mandatory ? '' : ', or leave out the option'}.`,
      );
  }
}

const isEmpty = (value: unknown): boolean => (Array.isArray(value) ? value.includes('') : value === '');

function refuse(command: Command, what: string): never {
  command.error(`error: ${what}`, { code: 'commander.invalidArgument' });
}
