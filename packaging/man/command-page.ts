import { helpOf, withSubcommands } from '../../cli/completion/tree.ts';
import type { CommandArgument, CommandNode, CommandOption } from '../../cli/completion/tree.ts';
import { bold, heading, italic, literal, prose, roff } from './roff.ts';
import type { PageHeading } from './roff.ts';

/**
 * Returns the page of a command with all of its subcommands. Its text is what `--help` of each of them says.
 * @param seeAlso pages that the page refers to, such as `portcullis(1)`
 */
export function commandPage(node: CommandNode, title: PageHeading, seeAlso: readonly string[]): string {
  const [first, ...below] = withSubcommands(node);
  const parts = [
    heading(title),
    `.SH NAME\n${roff(title.name)} \\- ${prose(node.summary)}`,
    '.SH SYNOPSIS',
    ...withSubcommands(node)
      .filter(({ commands }) => commands.length === 0)
      .map((one) => synopsis(one, title)),
    ...(first === undefined ? [] : body(first)),
    ...(below.length === 0 ? [] : ['.SH COMMANDS', ...below.flatMap(subsection)]),
    `.SH SEE ALSO\n${seeAlso.map(reference).join(',\n')}`,
  ];
  return `${parts.join('\n')}\n`;
}

/** Returns the page of `portcullis` itself: its commands, exit codes and examples. */
export function programPage(
  commands: readonly CommandNode[],
  {
    title,
    description,
    help,
  }: { readonly title: PageHeading; readonly description: string; readonly help: string },
): string {
  const parts = [
    heading(title),
    `.SH NAME\nportcullis \\- ${prose(description)}`,
    `.SH SYNOPSIS\n${bold('portcullis')} ${italic('command')} [${italic('options')}]\n.br\n${bold('portcullis')} ${bold('help')} ${italic('command')}`,
    '.SH COMMANDS',
    ...commands.map(
      ({ words, summary }) =>
        `.TP\n${bold(words.join(' '))}\n${prose(summary)}; ${reference(`portcullis-${words.join('-')}(1)`)}`,
    ),
    `.SH NOTES\n${paragraphs(help)}`,
    `.SH SEE ALSO\n${['portcullisd(8)', 'portcullis-config(5)'].map(reference).join(',\n')}`,
  ];
  return `${parts.join('\n')}\n`;
}

function synopsis(node: CommandNode, { name }: PageHeading): string {
  const program = name === 'portcullisd' ? bold(name) : bold(['portcullis', ...node.words].join(' '));
  const operands = node.arguments.map((argument) => ` ${operand(argument, node)}`).join('');
  return `${program} [${italic('options')}]${operands}\n.br`;
}

function operand({ name, variadic }: CommandArgument, { command }: CommandNode): string {
  const required = command.registeredArguments.find((one) => one.name() === name)?.required === true;
  const text = `${italic(name)}${variadic ? '...' : ''}`;
  return required ? text : `[${text}]`;
}

function subsection(node: CommandNode): string[] {
  return [
    `.SS ${roff(['portcullis', ...node.words].join(' '))}`,
    prose(`${sentence(node.summary)}.`),
    ...lists(node),
  ];
}

function body(node: CommandNode): string[] {
  return ['.SH DESCRIPTION', prose(`${sentence(node.summary)}.`), ...lists(node)];
}

function lists(node: CommandNode): string[] {
  const described = node.arguments.filter(({ description }) => description !== '');
  return [
    ...(described.length === 0
      ? []
      : [
          '.PP\nArguments:',
          ...described.map(({ name, description }) => `.TP\n${italic(name)}\n${prose(description)}`),
        ]),
    '.PP\nOptions:',
    ...node.options.map(optionItem),
    ...afterHelp(node),
  ];
}

function optionItem({ names, description, value }: CommandOption): string {
  const flags = names.map(bold).join(', ');
  const choices =
    value === undefined ||
    value.choices.length === 0 ||
    value.choices.every((one) => description.includes(one))
      ? ''
      : ` (${value.choices.map((one) => bold(one)).join(', ')})`;
  return `.TP\n${flags}${value === undefined ? '' : ` ${italic(value.name)}`}\n${prose(description)}${choices}`;
}

/** Returns what follows the lists in the help: examples, exit codes and notes. */
function afterHelp({ command }: CommandNode): string[] {
  const width = 110;
  const whole = helpOf(command, width);
  const own = command.createHelp();
  own.prepareContext({ helpWidth: width });
  const start = own.formatHelp(command, own);
  const text = whole.startsWith(start) ? whole.slice(start.length).trim() : '';
  return text === '' ? [] : [paragraphs(text)];
}

/** Returns paragraphs of a help text. Indented lines, such as examples, stay as they are. */
export function paragraphs(text: string): string {
  return text
    .trim()
    .split(/\n{2,}/u)
    .map((paragraph) => {
      const parts: string[] = [];
      let indented: string[] = [];
      const flush = (): void => {
        if (indented.length > 0) parts.push(`.RS 2\n${literal(indented)}\n.RE`);
        indented = [];
      };
      for (const line of paragraph.split('\n')) {
        if (line.startsWith(' ')) indented.push(line.replace(/^ {1,2}/u, ''));
        else {
          flush();
          parts.push(roff(line));
        }
      }
      flush();
      return `.PP\n${parts.join('\n')}`;
    })
    .join('\n');
}

function reference(page: string): string {
  const [, name = '', section = ''] = /^(.+)\((\d)\)$/u.exec(page) ?? [];
  return `${bold(name)}(${section})`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
