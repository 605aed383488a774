import type { Command } from 'commander';
import { evidenceOfReference, isComplete, lostInCopy } from '../../trust/transfer/index.ts';
import type { EvidencePiece, ImageInventory, LostInCopy } from '../../trust/transfer/index.ts';
import { withRegistries, withRegistry } from '../options/registry-options.ts';
import type { RegistryFlags } from '../options/registry-options.ts';
import { exitCodes, print, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { shortId, table } from '../output/table.ts';
import { withWide } from '../output/terminal.ts';

interface EvidenceFlags extends RegistryFlags {
  readonly against?: string;
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis images evidence registry.example.com/pay/app:1.0
  $ portcullis images evidence registry.example.com/pay/app:1.0 --against mirror.example.com/pay/app:1.0

Nothing is verified: "portcullis verify" decides. Many copy tools and mirrors silently drop signatures and
attestations, and the copy is then denied. --against names what the copy lacks.

Exit status: 0 listed, or the copy has everything; 1 the copy lacks something; 2 wrong use; 4 failed.`;

/** `portcullis images evidence`: what a registry holds about an image, and what a copy of it lacks. */
export function registerEvidence(images: Command): void {
  const command = images
    .command('evidence')
    .description('list signatures, attestations and other artifacts of an image, and those that a copy lacks')
    .argument('<image>', 'reference of the image')
    .option('--against <copy>', 'reference of a copy, which is compared with the image')
    .addHelpText('after', examples);
  withOutput(withRegistries(withWide(command))).action((image: string, flags: EvidenceFlags) =>
    withRegistry(flags, async (registry) => {
      const original = await evidenceOfReference(image, registry);
      if (flags.against === undefined) {
        print(flags.output, original, describe(original));
        return exitCodes.yes;
      }
      const copy = await evidenceOfReference(flags.against, registry);
      const lost = lostInCopy(original, copy);
      const text = isComplete(lost) ? describeComplete(original, copy) : describeLost(copy, lost);
      print(flags.output, { original, copy, lost, complete: isComplete(lost) }, text);
      return isComplete(lost) ? exitCodes.yes : exitCodes.no;
    }),
  );
}

function describe(inventory: ImageInventory): string {
  const { repository, digest, manifests, absentManifests, pieces, metadata } = inventory;
  const platforms = absentManifests.length === 0 ? '' : `, ${absentManifests.length} more are missing`;
  const facts = [
    `${repository}@${digest}`,
    `platforms: ${manifests.length}${platforms}`,
    ...(metadata === undefined ? [] : [`signed metadata: ${shortId(metadata)}`]),
  ];
  const list = pieces.length === 0 ? 'nothing refers to it\n' : listOf(pieces);
  return `${facts.join('\n')}\n${list}`;
}

/** Two images without any signature must not read like a copy that kept the signatures. */
function describeComplete({ pieces, metadata }: ImageInventory, copy: ImageInventory): string {
  const bare = pieces.length === 0 && metadata === undefined;
  const note = bare ? ', but the original has no signature and no other evidence' : '';
  return `${copy.repository}@${copy.digest} has everything${note}\n`;
}

function describeLost(copy: ImageInventory, lost: LostInCopy): string {
  const lines = [
    ...(lost.otherDigest === undefined
      ? []
      : [
          `the copy is another image, ${shortId(lost.otherDigest)}: nothing about the original applies to it`,
        ]),
    ...lost.manifests.map((digest) => `the platform ${shortId(digest)} is missing`),
    ...(lost.metadata ? ['the signed metadata is missing or different'] : []),
  ];
  const heading = `${copy.repository}@${copy.digest} lacks:\n`;
  const text = lines.map((line) => `${line}\n`).join('');
  const advice =
    'Copy the image with "portcullis images copy", which copies everything, or mirror the referrers and tags.\n';
  return `${heading}${text}${lost.pieces.length === 0 ? '' : listOf(lost.pieces)}${advice}`;
}

function listOf(pieces: readonly EvidencePiece[]): string {
  return table(
    ['SUBJECT', 'FORM', 'NAME', 'WHAT'],
    pieces.map(({ subject, form, name, what }) => [
      shortId(subject),
      form,
      form === 'tag' ? name.replace(/^sha256-([0-9a-f]{12})[0-9a-f]*/u, 'sha256-$1…') : shortId(name),
      what,
    ]),
  );
}
