import type { Command, CommanderError } from 'commander';
import { PortcullisError } from '../../base/errors/index.ts';
import { printError } from './output.ts';
import type { OutputFormat } from './output.ts';

/**
 * Returns the output format that a command line asks for, whether or not the rest of it is valid. Words after
 * `--` belong to the command that `exec` runs.
 */
export function formatAsked(args: readonly string[]): OutputFormat {
  const end = args.indexOf('--');
  const own = end === -1 ? args : args.slice(0, end);
  const asked = own.flatMap((word, index) => {
    if (word === '--output' || word === '-o') return [own[index + 1]];
    return [/^(?:--output=|-o)(.*)$/su.exec(word)?.[1]];
  });
  const last = asked.findLast((value) => value !== undefined);
  return last === 'json' || last === 'yaml' ? last : 'text';
}

/** Prints wrong use of a command line on standard error as JSON or YAML, like every other error. */
export async function printWrongUse(
  format: Exclude<OutputFormat, 'text'>,
  { code, message }: CommanderError,
  program: Command,
  args: readonly string[],
): Promise<void> {
  const { command, name } = named(program, args);
  // commander: "error: unknown option '--x'\n(Did you mean --y?)"
  const [, why = message, , suggestion] = /^(?:error: )?(.*?)(\n\((.*)\))?$/su.exec(message) ?? [];
  // A group of commands, such as `images`, has no option for its output.
  const givesCommand = command.commands.some((each) => args.includes(each.name()));
  const groupAlone =
    code === 'commander.help' ||
    (command.commands.length > 0 && !givesCommand && /^unknown option '(?:-o|--output)/u.test(why));
  const early = code === 'commander.unknownOption' && givesCommand;
  const see = `see ${name} --help`;
  const help = early ? ['write options after the command', see].join('; ') : see;
  const meant =
    suggestion === undefined ? '' : `${suggestion.replace(/^Did/u, 'did').replace(/[^?]$/u, '$&;')} `;
  // The reference of error codes reads these two.
  const wrong = groupAlone
    ? { code: 'CLI_MISSING_COMMAND', why: 'it has several commands, and none is given', fix: help }
    : { code: codes[code] ?? 'CLI_WRONG_USE', why, fix: `${meant}${help}` };
  await printError(
    format,
    new PortcullisError({
      ...wrong,
      kind: 'invalid',
      attempted: 'run',
      on: name,
    }),
  );
}

/** Returns the command that the words name, as far as they name one, and its name: `portcullis images ls`. */
function named(
  program: Command,
  args: readonly string[],
): { readonly command: Command; readonly name: string } {
  let command = program;
  let name = program.name();
  for (const word of args) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) break;
    command = next;
    name += ` ${word}`;
  }
  return { command, name };
}

/** Stable codes for commander's own. */
const codes: Readonly<Record<string, string>> = {
  'commander.unknownCommand': 'CLI_UNKNOWN_COMMAND',
  'commander.unknownOption': 'CLI_UNKNOWN_OPTION',
  'commander.missingArgument': 'CLI_MISSING_ARGUMENT',
  'commander.excessArguments': 'CLI_TOO_MANY_ARGUMENTS',
  'commander.missingMandatoryOptionValue': 'CLI_MISSING_OPTION',
  'commander.optionMissingArgument': 'CLI_MISSING_OPTION_VALUE',
  'commander.invalidArgument': 'CLI_INVALID_ARGUMENT',
  'commander.conflictingOption': 'CLI_CONFLICTING_OPTIONS',
};
