import type { Command } from 'commander';
import { copyRemarks, exportReference, pushImageFile } from '../../trust/transfer/index.ts';
import { exitCodes, print, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { withProgress } from '../output/progress.ts';
import { withRegistries, withRegistry } from '../options/registry-options.ts';
import type { RegistryFlags } from '../options/registry-options.ts';

interface CarryFlags extends RegistryFlags {
  readonly image?: string;
  readonly chunked?: boolean;
  readonly output: OutputFormat;
}

const pushExamples = `
Examples:
  $ portcullis images push app.tar registry.example.com/pay/app:1.0
  $ portcullis images push ./layout registry.example.com/pay/app:1.0 --image 1.0
  $ portcullis images push app.tar registry.example.com/pay/app:1.0 --chunked

SOURCE is an OCI image layout (a folder, or a tar archive of one) or an archive that "docker save" wrote.
Referrers, signatures and attestations in a layout are pushed too, and no digest changes. An image of an
older docker archive has no manifest: this command makes one, and earlier signatures do not match it. An
archive is extracted to the folder for temporary files ($TMPDIR).`;

const exportExamples = `
Examples:
  $ portcullis images export registry.example.com/pay/app:1.0 app.tar

The archive is an OCI image layout with every platform, referrers, signatures and attestations. "skopeo copy oci-archive:app.tar:1.0 …", "podman load" and
"docker load" read it. "portcullis trust archive create" writes one that also states how long it may be used.`;

/** `portcullis images push` and `images export`: between a registry and a file, without a daemon. */
export function registerCarry(images: Command): void {
  const push = images
    .command('push')
    .description(
      'push an image from a layout or an archive to a registry, with its signatures and attestations',
    )
    .argument('<source>', 'OCI layout, OCI archive or docker archive')
    .argument('<destination>', 'new reference of the image')
    .option(
      '--image <name>',
      'tag, name or digest of the image, where the source has several, or digest of one platform',
    )
    .option(
      '--chunked',
      'compress the layers in parts that can be fetched separately, for lazy starts; the image gets another digest',
    )
    .addHelpText('after', pushExamples);
  withOutput(withRegistries(push)).action((file: string, to: string, flags: CarryFlags) =>
    withRegistry(flags, async (registry) => {
      const pushed = await withProgress(flags.output, 'pushed', (progress) =>
        pushImageFile({ file, to, image: flags.image, registry, progress, chunked: flags.chunked ?? false }),
      );
      const { digest, manifests, evidence, reference } = pushed;
      print(
        flags.output,
        pushed,
        `pushed ${digest} (manifests: ${manifests}, pieces of evidence: ${evidence}${copyRemarks(pushed)}) to ${reference}\n`,
      );
      return exitCodes.yes;
    }),
  );

  const exporting = images
    .command('export')
    .description('write an image of a registry to an archive, with its signatures and attestations')
    .argument('<image>', 'reference of the image')
    .argument('<file>', 'archive to write; must not exist')
    .addHelpText('after', exportExamples);
  withOutput(withRegistries(exporting)).action((reference: string, file: string, flags: CarryFlags) =>
    withRegistry(flags, async (registry) => {
      const written = await withProgress(flags.output, 'exported', (progress) =>
        exportReference({ reference, file, registry, progress }),
      );
      const { digest, manifests, evidence } = written;
      print(
        flags.output,
        { ...written, file },
        `wrote ${digest} (manifests: ${manifests}, pieces of evidence: ${evidence}${copyRemarks(written)}) to ${file}\n`,
      );
      return exitCodes.yes;
    }),
  );
}
