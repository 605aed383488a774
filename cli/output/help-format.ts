import { Help } from 'commander';
import type { Argument, Command, Option } from 'commander';
import { wrapHelp } from './wrap-help.ts';

/**
 * Makes the help of a program, and of the commands that are added to it later, leave out:
 *
 * - defaults that say nothing: `false`, no text, and an empty list
 * - `[options]` in lists of subcommands: all of them have options, and the longer column would leave too
 *   little room for the descriptions to be wrapped
 *
 * The text after the lists is wrapped as wide as the lists.
 */
export function formatHelp(program: Command): void {
  program.configureHelp({
    // Commander otherwise does not wrap descriptions beside long options.
    minWidthToWrap: 30,
    subcommandTerm: (command) => [command.name(), ...command.registeredArguments.map(argumentTerm)].join(' '),
    optionDescription(this: Help, option: Option) {
      const shown: Option = isEmpty(option.defaultValue)
        ? Object.assign(Object.create(option) as Option, { defaultValue: undefined })
        : option;
      return Help.prototype.optionDescription.call(this, shown);
    },
  });
  program.configureOutput({
    writeOut: (text) =>
      process.stdout.write(wrapHelp(text, process.stdout.isTTY ? process.stdout.columns : 80)),
  });
}

function argumentTerm(argument: Argument): string {
  const name = argument.name() + (argument.variadic ? '...' : '');
  return argument.required ? `<${name}>` : `[${name}]`;
}

const isEmpty = (value: unknown): boolean =>
  value === false ||
  value === '' ||
  (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
