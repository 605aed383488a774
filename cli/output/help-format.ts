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
 * A default that is a list is shown as its elements. The text after the lists is wrapped as wide as they
 * are.
 */
export function formatHelp(program: Command): void {
  program.configureHelp({
    // Commander otherwise does not wrap descriptions beside long options.
    minWidthToWrap: 30,
    subcommandTerm: (command) => [command.name(), ...command.registeredArguments.map(argumentTerm)].join(' '),
    optionDescription(this: Help, option: Option) {
      return Help.prototype.optionDescription.call(this, withReadableDefault(option));
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

function withReadableDefault(option: Option): Option {
  const { defaultValueDescription } = option;
  const defaultValue: unknown = option.defaultValue;
  const other = (changes: object): Option => Object.assign(Object.create(option) as Option, changes);
  if (isEmpty(defaultValue)) return other({ defaultValue: undefined });
  if (!Array.isArray(defaultValue) || defaultValueDescription !== undefined) return option;
  return other({ defaultValueDescription: defaultValue.map((one) => JSON.stringify(one)).join(' ') });
}

const isEmpty = (value: unknown): boolean =>
  value === false ||
  value === '' ||
  (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
