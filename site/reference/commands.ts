import { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { commands } from '../../cli/commands.ts';
import { block } from '../markdown.ts';

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
  for (const { name, summary, load } of commands) {
    const program = new Command('portcullis').description(manifest.description).enablePositionalOptions();
    (await load()).register(program);
    const command = program.commands.find((one) => one.name() === name);
    if (command === undefined)
      throw new Error(`cli/commands.ts lists ${name}, and its module registers no such command`);
    const sections = treeOf(command).map(({ words, help, summary: says }, index) =>
      [
        index === 0 ? `# portcullis ${name}` : `## portcullis ${words}`,
        index === 0 ? `${sentence(summary)}.` : `${sentence(says)}.`,
        block('text', help),
      ].join('\n\n'),
    );
    pages.push({ name, text: `${sections.join('\n\n')}\n` });
  }
  return pages;
}

interface Node {
  /** The words of the command, such as `trust archive create`. */
  readonly words: string;
  readonly summary: string;
  readonly help: string;
}

function treeOf(command: Command, before = ''): Node[] {
  const words = `${before}${command.name()}`;
  let help = '';
  command.configureOutput({
    writeOut: (text) => (help += text),
    getOutHelpWidth: () => width,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  const own = { words, summary: command.summary() || command.description(), help };
  return [own, ...command.commands.flatMap((child) => treeOf(child, `${words} `))];
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`.replace(/\.$/, '');
}
