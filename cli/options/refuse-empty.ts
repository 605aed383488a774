import type { Command, Option } from 'commander';

const meaningful = new WeakSet<Option>();

/** Lets an option have an empty value, which then has a meaning of its own. */
export function mayBeEmpty(option: Option): Option {
  meaningful.add(option);
  return option;
}

/**
 * Refuses an empty argument or value of an option: it usually comes from a variable of a script that is not
 * set, and an empty path would mean the current folder. Words of a command to run may be empty, and values of
 * options with {@link mayBeEmpty}.
 * @throws CommanderError
 */
export function refuseEmpty(command: Command): void {
  for (const [index, argument] of command.registeredArguments.entries())
    if (argument.name() !== 'command' && isEmpty(command.processedArgs[index]))
      refuse(command, `command-argument value '' is invalid for argument '${argument.name()}'. It is empty.`);
  // Groups of commands have options too.
  for (let owner: Command | null = command; owner !== null; owner = owner.parent)
    for (const option of owner.options) {
      const name = option.attributeName();
      if (meaningful.has(option) || owner.getOptionValueSource(name) !== 'cli') continue;
      if (isEmpty(owner.getOptionValue(name)))
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
