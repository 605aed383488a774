import { Command, CommanderError } from 'commander';
import manifest from '../package.json' with { type: 'json' };
import { commands } from './commands.ts';

const wrongUse = 2;
const failed = 4;

const program = new Command('portcullis')
  .description(manifest.description)
  .version(manifest.version)
  .enablePositionalOptions()
  .exitOverride()
  .showHelpAfterError('(--help says more)')
  .addHelpText(
    'after',
    '\nExamples:\n  portcullis quickstart            the whole story, on this machine\n  portcullis daemon --help         how to serve a kubelet\n',
  );

// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  process.stderr.write(
    `portcullis: write the result to standard output: ${error.message}; make room, and look what was done before you call it again [CLI_OUTPUT_UNWRITABLE]\n`,
  );
  process.exit(failed);
});

// `help sign` and `sign --help` are the same.
const words = process.argv.slice(2).filter((word) => !word.startsWith('-'));
const wanted = words[0] === 'help' ? words[1] : words[0];
for (const { name, summary, load } of commands) {
  if (name === wanted) (await load()).register(program);
  else program.command(name).description(summary);
}

try {
  await program.parseAsync();
} catch (thrown) {
  if (!(thrown instanceof CommanderError)) throw thrown;
  // commander has said already what is wrong.
  process.exitCode = thrown.exitCode === 0 ? 0 : wrongUse;
}
