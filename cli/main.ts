import { Command, CommanderError } from 'commander';
import { PortcullisError, fileReason } from '../base/errors/index.ts';
import manifest from '../package.json' with { type: 'json' };
import { commands } from './commands.ts';
import { resolveBundleImports } from './environment/bundle-imports.ts';
import { requireKernel } from './environment/require-kernel.ts';
import { refuseEmpty } from './options/refuse-empty.ts';
import { exitCodesHelp } from './output/exit-codes.ts';
import { formatHelp } from './output/help-format.ts';
import { commandElsewhere, knownElsewhere, renamedIn, unknownCommand } from './output/known-elsewhere.ts';
import { exitCodes, fail } from './output/output.ts';
import { printableLines } from './output/printable.ts';
import { formatAsked, printWrongUse } from './output/wrong-use.ts';

resolveBundleImports();
const args = process.argv.slice(2);
const format = formatAsked(args);
/** As in `portcullis --socket /x ps`. */
const isEarly = args[0]?.startsWith('-') === true && commands.some(({ name }) => args.includes(name));
const versionAs = {
  text: manifest.version,
  json: JSON.stringify({ version: manifest.version }, null, 2),
  yaml: `version: ${manifest.version}`,
};
const program = new Command('portcullis')
  .description(manifest.description)
  .version(versionAs[format])
  .enablePositionalOptions()
  .exitOverride()
  .showHelpAfterError(`(${isEarly ? 'write options after the command; ' : ''}see --help)`)
  .addHelpText(
    'after',
    `\nExamples:\n  $ portcullis quickstart            the whole flow, on this machine\n  $ portcullis setup                 prepare this machine for the daemon\n  $ portcullis daemon --help         how to serve a kubelet\n${exitCodesHelp}`,
  );
// Subcommands inherit this when they are created.
formatHelp(program);
// An error repeats words of the command line, which may come from a script with names from elsewhere.
program.configureOutput({
  writeErr: (text) => void (format !== 'text' || process.stderr.write(printableLines(text))),
});

// A reader that closes the pipe early, such as `head`, is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  const isClosed = error.code === 'EBADF';
  const unwritable = new PortcullisError({
    code: 'CLI_OUTPUT_UNWRITABLE',
    kind: 'exhausted',
    attempted: 'write the result to standard output',
    on: '',
    why: isClosed ? 'it is closed' : fileReason(error, ''),
    fix: `${isClosed ? 'open it' : 'make room'}, and check what was done before you run it again`,
    cause: error,
  });
  void fail(format, unwritable).finally(() => process.exit(exitCodes.failed));
});

// If the reader of standard error is gone, this changes neither the work nor the exit code.
process.stderr.on('error', () => undefined);

// `help images ls` and `images ls --help` are equivalent.
const words = args.filter(
  (word, index) => !word.startsWith('-') && !['-o', '--output'].includes(args[index - 1] ?? ''),
);
const wanted = words[0] === 'help' ? words[1] : words[0];
const isKnown = commands.some(({ name }) => name === wanted);
const asked =
  words[0] !== 'help' || wanted === undefined
    ? args
    : isKnown
      ? [...words.slice(1), '--help']
      : [wanted, '--output', format];
program.hook('preAction', (_, command) => refuseEmpty(command));
for (const { name, summary, needsKernel, load } of commands) {
  if (name === wanted) {
    (await load()).register(program, commands);
    if (needsKernel === true) program.hook('preAction', () => requireKernel(name));
  } else program.command(name).description(summary);
}

try {
  if (wanted !== undefined && wanted === asked[0] && wanted !== 'help' && !isKnown) {
    const meant = await knownElsewhere(wanted, commands);
    const message = meant.length > 0 ? unknownCommand(wanted, meant) : commandElsewhere(wanted);
    if (message !== undefined) program.error(message, { code: 'commander.unknownCommand' });
  }
  const group = program.commands.find((one) => one.name() === wanted);
  const [, word = ''] = words;
  const meant = words[0] === 'help' ? [] : renamedIn(group, word);
  if (meant.length > 0) group?.error(unknownCommand(word, meant), { code: 'commander.unknownCommand' });
  await program.parseAsync(asked, { from: 'user' });
} catch (thrown) {
  if (thrown instanceof CommanderError) {
    // As text, commander has already printed the error.
    if (thrown.exitCode !== 0 && format !== 'text') await printWrongUse(format, thrown, program, asked);
    process.exitCode = thrown.exitCode === 0 ? exitCodes.yes : exitCodes.usage;
  } else await fail(format, thrown);
}
