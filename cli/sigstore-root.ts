import type { Command } from 'commander';
import { updateTrustedRoot } from '../trust/sigstore/index.ts';
import { readInputFile } from './files/input-file.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface UpdateFlags {
  readonly url?: string;
  readonly root?: string;
  readonly cache?: string;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis sigstore-root update                                          sigstore's public good instance
  $ portcullis sigstore-root update --url https://tuf.example.com --root root.json

Policies read the fetched root when they are loaded (\`root: public-good\`, \`root: { tuf: { url: … } }\`). Once fetched, a running
daemon keeps it up to date by itself, and loads its policy again when it changes. Decisions never use the network for it.

Exit status: 0 up to date; 1 what the repository serves is not valid; 2 wrong use; 4 failed. If an update
fails, the existing root stays.`;

export function register(program: Command): void {
  const root = program
    .command('sigstore-root')
    .description('keep the trusted roots of sigstore instances up to date');
  withOutput(
    root
      .command('update')
      .description('fetch and verify the trusted root of a TUF repository')
      .option('--url <url>', "the TUF repository; default: sigstore's public good instance")
      .option('--root <file>', 'the first TUF root of a repository that is not known yet')
      .option('--cache <folder>', 'where roots are stored; default: /var/lib/portcullis/sigstore-roots')
      .addHelpText('after', examples),
  ).action((flags: UpdateFlags) => run(flags.output, () => update(flags)));
}

async function update(flags: UpdateFlags): Promise<number> {
  const updated = await updateTrustedRoot({
    ...(flags.url === undefined ? {} : { url: flags.url }),
    ...(flags.root === undefined ? {} : { tufRoot: await readInputFile(flags.root) }),
    ...(flags.cache === undefined ? {} : { cache: flags.cache }),
  });
  print(
    flags.output,
    updated,
    `${updated.changed ? 'updated' : 'unchanged'}: ${updated.file} (${updated.digest}), from ${updated.url}\n`,
  );
  return exitCodes.yes;
}
