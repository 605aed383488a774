import { Argument } from 'commander';
import type { Command } from 'commander';
import { completions } from './completion/shells.ts';
import { commandTree } from './completion/tree.ts';
import type { CommandEntry } from './completion/tree.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ source <(portcullis completion bash)                                       for this shell
  $ portcullis completion bash > /etc/bash_completion.d/portcullis             for every shell (package bash-completion)
  $ portcullis completion zsh > /usr/local/share/zsh/site-functions/_portcullis
  $ portcullis completion fish > ~/.config/fish/completions/portcullis.fish

The Debian package contains these files. Exit status: 0 done; 2 wrong use.`;

/**
 * `portcullis completion`: prints the script that completes command lines in a shell.
 * @param commands all commands
 */
export function register(program: Command, commands: readonly CommandEntry[]): void {
  withOutput(
    program
      .command('completion')
      .description('print a script that completes commands, options and their values in a shell')
      .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(completions))),
  )
    .addHelpText('after', examples)
    .action((shell: keyof typeof completions, flags: Flags) =>
      run(flags.output, async () => {
        const script = completions[shell](await commandTree(commands));
        print(flags.output, { shell, script }, script);
        return exitCodes.yes;
      }),
    );
}
