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
  .showHelpAfterError('(see --help)')
  .addHelpText(
    'after',
    '\nExamples:\n  portcullis quickstart            the whole flow, on this machine\n  portcullis daemon --help         how to serve a kubelet\n',
  );

// A reader that closes the pipe early, such as `head`, is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  process.stderr.write(
    `portcullis: write the result to standard output: ${error.message}; make room, and check what was done before you run it again [CLI_OUTPUT_UNWRITABLE]\n`,
  );
  process.exit(failed);
});

// `help sign` and `sign --help` are equivalent.
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
  // commander has already printed the error.
  process.exitCode = thrown.exitCode === 0 ? 0 : wrongUse;
}
