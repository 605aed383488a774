import { resolve } from 'node:path';
import type { Command } from 'commander';
import { useImageFile } from '../../trust/transfer/index.ts';
import { askAdmin, withAdminSocket } from '../options/admin-socket.ts';
import type { AdminFlags } from '../options/admin-socket.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { withProgress } from '../output/progress.ts';
import { followPull } from './follow-pull.ts';

interface ImportFlags extends AdminFlags {
  readonly image?: string;
  readonly namespace: string;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis images import app.tar registry.example.com/pay/app:1.0 --namespace pay

SOURCE is an OCI image layout (a folder, or a tar archive of one) or an archive that "docker save" wrote.
The daemon decides as if the registry of REFERENCE served it: it takes signatures and attestations from the
layout, and asks the registry only for what the layout does not have. An archive is extracted to the folder
for temporary files ($TMPDIR), which the daemon must also be able to read.`;

/** The daemon verifies and unpacks the whole image: an hour, in ms. */
const importMs = 3_600_000;

/** `portcullis images import`: from a file on this machine into the store of the daemon. */
export function registerImport(images: Command): void {
  const command = images
    .command('import')
    .description(
      'verify an image of a layout or an archive and store it; exits 1 when the policy refuses it, 3 when it could not be decided',
    )
    .argument('<source>', 'OCI layout, OCI archive or docker archive')
    .argument('<reference>', 'name that the image gets, and for which the policy decides')
    .option(
      '--image <name>',
      'tag, name or digest of the image, where the source has several, or digest of one platform',
    )
    .option('-n, --namespace <name>', 'namespace to decide for', 'default')
    .addHelpText('after', examples);
  withAdminSocket(withOutput(command)).action((file: string, reference: string, flags: ImportFlags) =>
    run(flags.output, async () => {
      const { namespace } = flags;
      const stored = await withProgress(flags.output, 'imported', (report) =>
        useImageFile({ file, image: flags.image }, ({ folder, digest }) => {
          const request = { folder: resolve(folder), digest, reference, namespace };
          const importing = askAdmin(flags, 'images/import', request, importMs);
          return followPull(flags, reference, report, importing);
        }),
      );
      const lines = [
        `imported ${reference}`,
        `id       ${stored.id}`,
        `digest   ${stored.digest}`,
        `verdict  ${stored.verdictId}`,
      ];
      if (stored.unverified) lines.push('UNVERIFIED: a rule allows this image without any proof');
      print(flags.output, { image: reference, ...stored }, `${lines.join('\n')}\n`);
      return exitCodes.yes;
    }),
  );
}
