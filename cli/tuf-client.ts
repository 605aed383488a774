import type { Command } from 'commander';
import { downloadTargets, initialiseTuf, refreshTuf } from '../trust/tuf-client/index.ts';
import { readInputFile } from './files/input-file.ts';
import { protocolAnswers } from './output/exit-codes.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

interface Flags {
  readonly metadataDir: string;
  readonly metadataUrl?: string;
  readonly targetName: readonly string[];
  readonly targetBaseUrl?: string;
  readonly targetDir?: string;
}

const examples = `
Examples:
  $ portcullis tuf-client --metadata-dir trusted init root.json
  $ portcullis tuf-client --metadata-dir trusted --metadata-url https://tuf.example.com/metadata refresh
  $ portcullis tuf-client --metadata-dir trusted --metadata-url https://tuf.example.com/metadata --target-name app/1.0.tar --target-base-url https://tuf.example.com/targets --target-dir files download

Exit status: 0 done; 1 refused or failed; 2 wrong use.`;

/** Speaks the TUF client conformance protocol (theupdateframework/tuf-conformance, CLIENT-CLI.md). */
export function register(program: Command): void {
  const client = program
    .command('tuf-client')
    .description('fetch from a TUF repository; speaks the TUF client conformance protocol')
    .requiredOption('--metadata-dir <folder>', 'folder of the trusted metadata')
    .option('--metadata-url <url>', "the repository's metadata")
    .option('--target-name <path>', 'a target to download; may be repeated', collect, [])
    .option('--target-base-url <url>', "the repository's targets")
    .option('--target-dir <folder>', 'where targets are stored')
    .addHelpText('after', examples);
  const flags = (): Flags => client.opts();
  const url = (given: string | undefined, option: string): string =>
    given ?? client.error(`error: ${option} is required`, { exitCode: 2 });

  withOutput(
    client
      .command('init')
      .description('start to trust a repository, given its root')
      .argument('<root>', 'root.json, from a trusted source'),
  ).action((root: string, { output }: Output) =>
    attempt(output, async () => {
      await initialiseTuf(flags().metadataDir, await readInputFile(root));
      return { value: { metadataDir: flags().metadataDir }, text: `trust begins with ${root}\n` };
    }),
  );
  withOutput(client.command('refresh').description('bring the metadata up to date')).action(
    ({ output }: Output) => {
      const { metadataDir, metadataUrl } = flags();
      const from = url(metadataUrl, '--metadata-url');
      return attempt(output, async () => {
        const versions = versionsOf(await refreshTuf({ metadataDir, metadataUrl: from, now: new Date() }));
        return {
          value: versions,
          text: `${Object.entries(versions)
            .map(([role, version]) => `${role} ${version}`)
            .join(', ')}\n`,
        };
      });
    },
  );
  withOutput(
    client.command('download').description('bring the metadata up to date and download targets'),
  ).action(({ output }: Output) => {
    const { metadataDir, metadataUrl, targetBaseUrl, targetDir, targetName } = flags();
    const input = {
      metadataDir,
      metadataUrl: url(metadataUrl, '--metadata-url'),
      targetUrl: url(targetBaseUrl, '--target-base-url'),
      targetDir: url(targetDir, '--target-dir'),
      paths: targetName.length > 0 ? targetName : [url(undefined, '--target-name')],
      now: new Date(),
    };
    return attempt(output, async () => {
      const files = await downloadTargets(input);
      return { value: { files }, text: files.map((file) => `${file}\n`).join('') };
    });
  });
}

interface Output {
  readonly output: OutputFormat;
}

const collect = (value: string, earlier: readonly string[]): string[] => [...earlier, value];

function versionsOf({ trusted }: Awaited<ReturnType<typeof refreshTuf>>): Record<string, number> {
  const { root, timestamp, snapshot, targets } = trusted;
  const named = { root, timestamp, snapshot, targets: targets.get('targets') };
  return Object.fromEntries(
    Object.entries(named).flatMap(([role, metadata]) =>
      metadata === undefined ? [] : [[role, metadata.signed.version]],
    ),
  );
}

/** Runs a command. The protocol has one exit code for failures: 1. */
const attempt = (
  format: OutputFormat,
  body: () => Promise<{ readonly value: object; readonly text: string }>,
): Promise<void> =>
  run(
    format,
    async () => {
      const { value, text } = await body();
      print(format, value, text);
      return exitCodes.yes;
    },
    protocolAnswers,
  );
