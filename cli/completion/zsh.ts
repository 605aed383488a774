import { withSubcommands } from './tree.ts';
import type { CommandNode, CommandOption, CommandValue } from './tree.ts';

/** Returns a completion script for zsh 5 or newer: a file of \`fpath\`, or \`source <(…)\` after compinit. */
export function zshCompletion(commands: readonly CommandNode[]): string {
  const top = commands.map(({ words: [name = ''], summary }) => ({ name, summary }));
  return `#compdef portcullis portcullisd
# zsh completion for portcullis and portcullisd. Written by \`portcullis completion zsh\`.

${commands.flatMap(withSubcommands).map(functionOf).join('\n\n')}

_portcullis() {
  if [[ \${service:-\${words[1]:t}} == portcullisd ]]; then
    _portcullis__daemon
    return
  fi
${group('', top, ["'(- *)'{-h,--help}'[display help for command]'", "'(- *)'{-V,--version}'[output the version number]'"])}
}

if [[ \${funcstack[1]:-} == _portcullis ]]; then
  _portcullis "$@"
else
  compdef _portcullis portcullis portcullisd
fi
`;
}

function functionOf(node: CommandNode): string {
  const options = node.options.map(optionOf);
  const body =
    node.commands.length > 0
      ? group(
          nameOf(node.words),
          node.commands.map(({ words, summary }) => ({ name: words.at(-1) ?? '', summary })),
          options,
        )
      : command(node, options);
  return `_portcullis${nameOf(node.words)}() {\n${body}\n}`;
}

function command(node: CommandNode, options: readonly string[]): string {
  const operands = node.passesOptions
    ? [`'1:${message(node.arguments[0]?.name ?? '')}: '`, `'*:::${message('command')}: '`]
    : node.arguments.map((argument, index) => {
        const place = argument.variadic ? '*' : String(index + 1);
        return `'${place}:${message(argument.name)}:${action(argument)}'`;
      });
  return `  _arguments -s -S \\\n${[...options, ...operands].map((line) => `    ${line}`).join(' \\\n')}`;
}

/** Returns the body of a command that has subcommands: each of them has a function of its own. */
function group(
  prefix: string,
  children: readonly { readonly name: string; readonly summary: string }[],
  options: readonly string[],
): string {
  return `  local curcontext=$curcontext state line
  typeset -A opt_args
  _arguments -C ${options.join(' ')} '1: :->command' '*:: :->rest'
  case $state in
    command)
      local -a commands=(
${children.map(({ name, summary }) => `        '${message(name)}:${escaped(summary)}'`).join('\n')}
      )
      _describe -t commands command commands
      ;;
    rest)
      case $line[1] in
${children.map(({ name }) => `        ${name}) _portcullis${prefix}${nameOf([name])} ;;`).join('\n')}${prefix === '' ? '\n        help) _portcullis ;;' : ''}
      esac
      ;;
  esac`;
}

function optionOf({ names, description, value }: CommandOption): string {
  const about = `[${escaped(description).replaceAll(/[[\]]/gu, String.raw`\$&`)}]`;
  const takes = value === undefined ? '' : `:${message(value.name)}:${action(value)}`;
  if (names.includes('--help')) return `'(- *)'{${names.join(',')}}'${about}'`;
  // The value is the next word, or the rest of this one: --output json, --output=json, -o json, -ojson.
  const marks = value === undefined ? { long: '', short: '' } : { long: '=', short: '+' };
  const marked = names.map((name) => name + (name.startsWith('--') ? marks.long : marks.short));
  const [only = ''] = marked;
  return marked.length === 1 ? `'*${only}${about}${takes}'` : `'*'{${marked.join(',')}}'${about}${takes}'`;
}

function action({ name, choices, isFile }: CommandValue): string {
  if (choices.length > 0) return `(${choices.join(' ')})`;
  if (!isFile) return ' ';
  // The file begins after a word and =, as in json=FILE.
  return name.includes('=') ? '{ compset -P 1 "*=" && _files }' : '_files';
}

function message(text: string): string {
  return escaped(text).replaceAll(':', String.raw`\:`);
}

/** Inside single quotes. */
function escaped(text: string): string {
  return text.replaceAll("'", String.raw`'\''`);
}

function nameOf(words: readonly string[]): string {
  return words.map((word) => `__${word}`).join('');
}
