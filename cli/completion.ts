import { Argument } from 'commander';
import type { Command } from 'commander';
import { bashCompletion } from './completion/bash.ts';
import { fishCompletion } from './completion/fish.ts';
import { commandTree } from './completion/tree.ts';
import { zshCompletion } from './completion/zsh.ts';
import { commands } from './commands.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly output: OutputFormat;
}

/** The shells, and the function that writes the script of each. */
export const completions = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

const examples = `
Examples:
  $ source <(portcullis completion bash)                                       for this shell
  $ portcullis completion bash > /etc/bash_completion.d/portcullis             for every shell (package bash-completion)
  $ portcullis completion zsh > /usr/local/share/zsh/site-functions/_portcullis
  $ portcullis completion fish > ~/.config/fish/completions/portcullis.fish

The Debian package contains these files. Exit status: 0 done, 2 wrong use.`;

/** `portcullis completion`: prints the script that completes command lines in a shell. */
export function register(program: Command): void {
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
