import { withSubcommands } from './tree.ts';
import type { CommandNode, CommandOption } from './tree.ts';

/** Returns a completion script for fish 3 or newer. */
export function fishCompletion(commands: readonly CommandNode[]): string {
  const nodes = commands.flatMap(withSubcommands);
  const withValue = nodes.flatMap(({ words, options }) =>
    options.flatMap(({ names, value }) =>
      value === undefined ? [] : names.map((name) => quoted([...words, name].join(' '))),
    ),
  );
  return `# fish completion for portcullis and portcullisd. Written by \`portcullis completion fish\`.

set -g __portcullis_commands ${nodes.map(({ words }) => quoted(words.join(' '))).join(' ')}
set -g __portcullis_with_value ${withValue.join(' ')}

# Sets the command that the line names so far, such as "trust archive", and the number of its arguments.
function __portcullis_place
    set -l line (commandline -opc)
    # Each candidate asks for the place, and the line is the same for all of them.
    test "$line" = "$__portcullis_line"; and return
    set -g __portcullis_line "$line"
    set -g __portcullis_command
    set -g __portcullis_count 0
    string match -qr 'portcullisd$' -- $line[1]; and set __portcullis_command daemon
    set -l wait 0
    for word in $line[2..-1]
        if test $wait = 1
            set wait 0
        else if string match -q -- '-*' $word
            contains -- (string join -- ' ' $__portcullis_command $word) $__portcullis_with_value; and set wait 1
        else if test $__portcullis_count = 0; and contains -- (string join -- ' ' $__portcullis_command $word) $__portcullis_commands
            set -a __portcullis_command $word
        else if test "$__portcullis_command$word" != help
            set __portcullis_count (math $__portcullis_count + 1)
        end
    end
end

# Succeeds if the line names the command $argv[1]; with $argv[2], only at the argument of this number.
function __portcullis_at
    __portcullis_place
    test "$__portcullis_command" = "$argv[1]"; or return 1
    test (count $argv) = 1; or test $__portcullis_count = $argv[2]
end

for program in portcullis portcullisd
    complete -c $program -f
end
complete -c portcullis -n "__portcullis_at ''" -s V -l version -d 'output the version number'
complete -c portcullis -n "__portcullis_at ''" -s h -l help -d 'display help for command'
${commands.map((node) => subcommand('', node)).join('\n')}

${nodes.map(linesOf).join('\n')}
`;
}

function linesOf(node: CommandNode): string {
  const at = node.words.join(' ');
  const programs = node.words[0] === 'daemon' ? ['portcullis', 'portcullisd'] : ['portcullis'];
  return [
    ...node.commands.map((child) => subcommand(at, child)),
    ...programs.flatMap((program) => node.options.map((option) => optionOf(program, at, option))),
    ...node.arguments.flatMap(({ choices, isFile, variadic }, index) => {
      if (choices.length === 0 && !isFile) return [];
      const place = variadic ? `__portcullis_at ${quoted(at)}` : `__portcullis_at ${quoted(at)} ${index}`;
      const what = choices.length > 0 ? `-a ${quoted(choices.join(' '))}` : '-F';
      return [`complete -c portcullis -n ${quoted(place)} ${what}`];
    }),
  ].join('\n');
}

function subcommand(at: string, { words, summary }: CommandNode): string {
  const place = `__portcullis_at ${quoted(at)} 0`;
  return `complete -c portcullis -n ${quoted(place)} -a ${quoted(words.at(-1) ?? '')} -d ${quoted(summary)}`;
}

function optionOf(program: string, at: string, { names, description, value }: CommandOption): string {
  const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const choices =
    value === undefined || value.choices.length === 0 ? '' : ` -a ${quoted(value.choices.join(' '))}`;
  const takes = value === undefined ? '' : value.isFile ? ' -r -F' : ` -x${choices}`;
  return `complete -c ${program} -n ${quoted(`__portcullis_at ${quoted(at)}`)} ${flags.join(' ')}${takes} -d ${quoted(description)}`;
}

/** Quotes a text for fish, which takes a backslash in single quotes before a quote or a backslash. */
function quoted(text: string): string {
  return `'${text.replaceAll(/['\\]/gu, String.raw`\$&`)}'`;
}
