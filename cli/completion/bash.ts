import { withSubcommands } from './tree.ts';
import type { CommandNode, CommandValue } from './tree.ts';

/**
 * Returns a completion script for bash 4.4 or newer. It needs no package `bash-completion`: that package
 * loads it by the name of the command, and `source <(portcullis completion bash)` loads it without.
 */
export function bashCompletion(commands: readonly CommandNode[]): string {
  const nodes = commands.flatMap(withSubcommands);
  const top = ['help', ...commands.map(({ words }) => words.join(' '))];
  return `# bash completion for portcullis and portcullisd. Written by \`portcullis completion bash\`.

# Sets \`subcommands\`, \`options\` and \`operands\` (choices, or "file", of each argument) of the command $1.
_portcullis_describe() {
  subcommands='' options='' operands=() passes=''
  case $1 in
    '')
      subcommands='${top.join(' ')}'
      options='-h --help -V --version'
      ;;
${nodes.map(describeCase).join('\n')}
  esac
}

# Prints what follows the option $2 of the command $1: "file", "=file", "none" or words. Fails if nothing follows it.
_portcullis_value() {
  case "$1 $2" in
${nodes.flatMap(valueCases).join('\n')}
    *) return 1 ;;
  esac
}

_portcullis() {
  local line=() word command='' count=0 wait='' subcommands options passes i cur kind lead last rest=$COMP_LINE
  local -a operands
  COMPREPLY=()
  # Bash splits words at = and :, which are in COMP_WORDBREAKS: pieces without a space between them are joined.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    lead=\${rest%%[![:space:]]*}
    rest=\${rest#"$lead"}
    rest=\${rest#"$word"}
    if [[ $i -gt 0 && -z $lead && ( $word == [=:]* || $last == *[=:] ) ]]; then
      line[-1]+=$word
    else
      line+=("$word")
    fi
    last=$word
  done
  cur=\${line[-1]}
  unset 'line[-1]' 'line[0]'
  [[ \${COMP_WORDS[0]##*/} != portcullisd ]] || command=daemon
  _portcullis_describe "$command"
  for word in "\${line[@]}"; do
    if [[ -n $wait ]]; then
      wait=''
    elif [[ $word == --*=* ]]; then
      :
    elif [[ $word == -* ]]; then
      if _portcullis_value "$command" "$word" >/dev/null; then wait=$word; fi
    elif [[ $count -eq 0 && " $subcommands " == *" $word "* ]]; then
      [[ $word == help && -z $command ]] || command=\${command:+$command }$word
      _portcullis_describe "$command"
    else
      ((count++))
      # What follows belongs to the command in the container.
      [[ -z $passes || $count -lt 2 ]] || return 0
    fi
  done
  if [[ -z $wait && $cur == --*=* ]]; then
    wait=\${cur%%=*}
    cur=\${cur#*=}
  fi
  if [[ -n $wait ]]; then
    kind=$(_portcullis_value "$command" "$wait")
  elif [[ $cur == -* ]]; then
    kind=$options
  elif [[ -n $subcommands ]]; then
    kind=$subcommands
  else
    # The last argument may be repeated. Bash prints an error for the last element of an empty array.
    kind=none
    if [[ \${#operands[@]} -gt 0 ]]; then kind=\${operands[count]-\${operands[-1]}}; fi
  fi
  case $kind in
    none) ;;
    file)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      ;;
    =file)
      # The file begins after a word and =, as in json=FILE.
      if [[ $cur == *=* ]]; then
        compopt -o filenames 2>/dev/null
        cur=\${cur#*=}
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      fi
      ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$kind" -- "$cur") ;;
  esac
  # Bash replaces only the last piece of the word.
  [[ $last != [=:]* ]] || last=''
  COMPREPLY=("\${COMPREPLY[@]#"\${cur%"$last"}"}")
}

complete -F _portcullis portcullis portcullisd
`;
}

function describeCase(node: CommandNode): string {
  const { words, commands, options, passesOptions } = node;
  const names = options.flatMap((option) => option.names);
  const last = node.arguments.at(-1);
  const operands = node.arguments.map((argument) => quoted(kindOf(argument)));
  // Nothing follows the last argument, unless it may be repeated.
  if (last?.variadic === false) operands.push(quoted('none'));
  return `    '${words.join(' ')}')
${[
  ...(commands.length === 0
    ? []
    : [`      subcommands=${quoted(commands.map((one) => one.words.at(-1)).join(' '))}`]),
  `      options=${quoted(names.join(' '))}`,
  ...(operands.length === 0 ? [] : [`      operands=(${operands.join(' ')})`]),
  ...(passesOptions ? ['      passes=1'] : []),
].join('\n')}
      ;;`;
}

function valueCases({ words, options }: CommandNode): string[] {
  return options.flatMap(({ names, value }) =>
    value === undefined
      ? []
      : [
          `    ${names.map((name) => quoted(`${words.join(' ')} ${name}`)).join(' | ')}) echo ${quoted(kindOf(value))} ;;`,
        ],
  );
}

function kindOf({ name, choices, isFile }: CommandValue): string {
  if (choices.length > 0) return choices.join(' ');
  if (!isFile) return 'none';
  return name.includes('=') ? '=file' : 'file';
}

/** Quotes a text for a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
