import type { Command } from 'commander';
import { reasonOf } from '../base/errors/index.ts';
import { downloadTargets, initialiseTuf, refreshTuf } from '../trust/index.ts';
import { readInputFile } from './input-file.ts';

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
  $ portcullis tuf-client --metadata-dir trusted --metadata-url https://tuf.example.com/metadata \\
      --target-name app/1.0.tar --target-base-url https://tuf.example.com/targets --target-dir files download

Exit status: 0 done, 1 refused or failed, 2 wrong use.`;

/** Speaks the TUF client conformance protocol (theupdateframework/tuf-conformance, CLIENT-CLI.md). */
export function register(program: Command): void {
  const client = program
    .command('tuf-client')
    .description('fetch from a TUF repository; speaks the TUF client conformance protocol')
    .requiredOption('--metadata-dir <folder>', 'where trusted metadata is kept')
    .option('--metadata-url <url>', "the repository's metadata")
    .option('--target-name <path>', 'a target to download; may be given several times', collect, [])
    .option('--target-base-url <url>', "the repository's targets")
    .option('--target-dir <folder>', 'where targets are stored')
    .addHelpText('after', examples);
  const flags = (): Flags => client.opts();
  const url = (given: string | undefined, option: string): string => given ?? client.error(`error: ${option} is required`, { exitCode: 2 });

  client
    .command('init')
    .description('begin to trust a repository by its root')
    .argument('<root>', 'root.json, as it was handed out')
    .action((root: string) => attempt(async () => initialiseTuf(flags().metadataDir, await readInputFile(root))));
  client
    .command('refresh')
    .description('bring the metadata up to date')
    .action(() => {
      const { metadataDir, metadataUrl } = flags();
      const from = url(metadataUrl, '--metadata-url');
      return attempt(() => refreshTuf({ metadataDir, metadataUrl: from, now: new Date() }));
    });
  client
    .command('download')
    .description('bring the metadata up to date and download targets')
    .action(() => {
      const { metadataDir, metadataUrl, targetBaseUrl, targetDir, targetName } = flags();
      const input = {
        metadataDir,
        metadataUrl: url(metadataUrl, '--metadata-url'),
        targetUrl: url(targetBaseUrl, '--target-base-url'),
        targetDir: url(targetDir, '--target-dir'),
        paths: targetName.length > 0 ? targetName : [url(undefined, '--target-name')],
        now: new Date(),
      };
      return attempt(() => downloadTargets(input));
    });
}

const collect = (value: string, earlier: readonly string[]): string[] => [...earlier, value];

/** The protocol knows one failure: 1. */
async function attempt(body: () => Promise<unknown>): Promise<void> {
  try {
    await body();
  } catch (thrown) {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : reasonOf(thrown)}\n`);
    process.exitCode = 1;
  }
}
