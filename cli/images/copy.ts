import type { Command } from 'commander';
import { openRegistries } from '../../trust/index.ts';
import { copyReference, copyRemarks } from '../../trust/transfer/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { withProgress } from '../output/progress.ts';
import { withRegistries } from '../options/registry-options.ts';
import type { RegistryFlags } from '../options/registry-options.ts';

interface CopyFlags extends RegistryFlags {
  readonly all: boolean;
  readonly metadata?: string;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis images copy registry.example.com/pay/app:1.0 10.0.0.5:5000/pay/app:1.0
  $ portcullis images copy registry.example.com/pay/app:1.0 10.0.0.5:5000/pay/app:1.0 --metadata https://trust.example.com/tuf/registry.example.com/pay/app

Signatures and attestations are copied too (referrers, and the tags sha256-….sig, .att and .sbom), and the
signed metadata stored with the image (tag portcullis-tuf). Signatures and attestations that the destination
has already stay. An SBOM under the tag .sbom, which cosign keeps only once, is replaced. The signed metadata
of the destination stays, too, if it is newer or belongs to another collection.
Digests do not change, so every platform is copied.`;

/** `portcullis images copy`: copies an image from registry to registry, without a daemon. */
export function registerCopy(images: Command): void {
  const command = images
    .command('copy')
    .description('copy an image to another registry, with its signatures, attestations and signed metadata')
    .argument('<source>', 'reference of the image')
    .argument('<destination>', 'reference of the copy')
    .option(
      '--metadata <address>',
      'address of its signed metadata, if not stored with it in the registry: https://… or oci://…',
    )
    .option(
      '--all',
      'copy every platform; always on, because the signature is about the digest of the index',
      true,
    )
    .addHelpText('after', examples);
  withOutput(withRegistries(command)).action((from: string, to: string, flags: CopyFlags) =>
    run(flags.output, async () => {
      const registry = await openRegistries({
        mirrors: flags.registryMirror,
        insecureHosts: flags.insecureRegistry,
      });
      try {
        const copied = await withProgress(flags.output, 'copied', (progress) =>
          copyReference({
            from,
            to,
            registry,
            progress,
            ...(flags.metadata === undefined ? {} : { metadata: flags.metadata }),
          }),
        );
        const { digest, manifests, evidence, metadata } = copied;
        const text = `copied ${digest} (manifests: ${manifests}, pieces of evidence: ${evidence}${metadata ? ', signed metadata' : ''}${copyRemarks(copied)}) to ${copied.reference}\n`;
        print(flags.output, copied, text);
        return exitCodes.yes;
      } finally {
        await registry.close();
      }
    }),
  );
}
