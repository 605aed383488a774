import { Command } from 'commander';
import type { Argument } from 'commander';
import { formatHelp } from '../output/help-format.ts';
import { wrapHelp } from '../output/wrap-help.ts';
import manifest from '../../package.json' with { type: 'json' };

/** An entry of the list of commands (cli/commands.ts). */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<{ register(program: Command, commands: readonly CommandEntry[]): void }>;
}

/** The value of an option, or an argument. */
export interface CommandValue {
  /** The name in the help, such as `file`. */
  readonly name: string;
  /** The words that are allowed, if only these are. */
  readonly choices: readonly string[];
  /** Whether the value is a file or a folder, or one after a word and `=`: `format=file`. */
  readonly isFile: boolean;
}

export interface CommandOption {
  /** `-o` and `--output`, or one of them. */
  readonly names: readonly string[];
  readonly description: string;
  /** Absent if the option takes no value. */
  readonly value?: CommandValue;
}

export interface CommandArgument extends CommandValue {
  readonly description: string;
  readonly variadic: boolean;
}

export interface CommandNode {
  /** The words of the command after `portcullis`, such as `['trust', 'archive', 'create']`. */
  readonly words: readonly string[];
  /** One line, without a full stop. */
  readonly summary: string;
  readonly options: readonly CommandOption[];
  readonly arguments: readonly CommandArgument[];
  /** Whether options of this command end at its first argument, as for `exec`. */
  readonly passesOptions: boolean;
  readonly commands: readonly CommandNode[];
  /** The command itself, for its help. */
  readonly command: Command;
}

/**
 * Loads every command, and returns the tree of all commands below `portcullis`. Hidden options and hidden
 * commands are not part of it.
 * @throws Error if a module registers no command of its name
 */
export async function commandTree(entries: readonly CommandEntry[]): Promise<readonly CommandNode[]> {
  const nodes: CommandNode[] = [];
  for (const { name, load } of entries) {
    const program = new Command('portcullis').description(manifest.description).enablePositionalOptions();
    formatHelp(program);
    (await load()).register(program, entries);
    const command = program.commands.find((one) => one.name() === name);
    if (command === undefined)
      throw new Error(`cli/commands.ts lists ${name}, and its module registers no such command`);
    nodes.push(nodeOf(command, []));
  }
  return nodes;
}

/** Returns a command and all commands below it, in the order of the help. */
export function withSubcommands(node: CommandNode): readonly CommandNode[] {
  return [node, ...node.commands.flatMap(withSubcommands)];
}

/** Returns what `--help` of a command prints for lines of `width` columns, without colours. */
export function helpOf(command: Command, width: number): string {
  let help = '';
  command.configureOutput({
    writeOut: (text) => (help += wrapHelp(text, width)),
    getOutHelpWidth: () => width,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return help;
}

function nodeOf(command: Command, before: readonly string[]): CommandNode {
  const words = [...before, command.name()];
  const help = command.createHelp();
  return {
    words,
    summary: (command.summary() || command.description()).replace(/\.$/u, ''),
    options: help.visibleOptions(command).map((option) => ({
      names: [option.short, option.long].filter((name) => name !== undefined),
      description: option.description,
      ...valueOf(option),
    })),
    arguments: command.registeredArguments.map((argument) => ({
      ...describeArgument(argument),
      description: argument.description,
      variadic: argument.variadic,
    })),
    passesOptions: '_passThroughOptions' in command && command._passThroughOptions === true,
    // `help COMMAND` is not in this list.
    commands: command.commands
      .filter((child) => visible(command, child))
      .map((child) => nodeOf(child, words)),
    command,
  };
}

function visible(parent: Command, child: Command): boolean {
  return parent.createHelp().visibleCommands(parent).includes(child);
}

function valueOf(option: { readonly flags: string; readonly argChoices?: readonly string[] }): {
  readonly value?: CommandValue;
} {
  const name = /[<[]([^>]+?)(?:\.\.\.)?[>\]]$/u.exec(option.flags)?.[1];
  return name === undefined ? {} : { value: describeValue(name, option.argChoices) };
}

/** An argument is also a file if its description says so, such as the source of `images push`. */
function describeArgument(argument: Argument): CommandValue {
  const value = describeValue(argument.name(), argument.argChoices);
  return {
    ...value,
    isFile: value.isFile || /\bfile\b|\bfolder\b|\blayout\b|\.json/u.test(argument.description),
  };
}

function describeValue(name: string, choices: readonly string[] = []): CommandValue {
  const isFile = /file|path|folder|^dir$|profile|^(?:first|second|place|program)$/iu.test(name);
  return { name, choices, isFile };
}
