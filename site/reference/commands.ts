import { commands } from '../../cli/commands.ts';
import { commandTree, helpOf, withSubcommands } from '../../cli/completion/tree.ts';
import { block } from './markdown.ts';

export interface CommandPage {
  readonly name: string;
  readonly text: string;
}

const width = 110;

/**
 * Returns a page for each command: the help of the command and of each of its subcommands, as `--help` prints
 * it.
 */
export async function commandPages(): Promise<CommandPage[]> {
  const pages: CommandPage[] = [];
  for (const node of await commandTree(commands)) {
    const name = node.words.join(' ');
    const sections = withSubcommands(node).map(({ words, command, summary }, index) =>
      [
        `${index === 0 ? '#' : '##'} portcullis ${words.join(' ')}`,
        `${sentence(summary)}.`,
        block('text', helpOf(command, width)),
      ].join('\n\n'),
    );
    pages.push({ name, text: `${sections.join('\n\n')}\n` });
  }
  return pages;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
