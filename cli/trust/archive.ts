import type { Command } from 'commander';
import { explainVerdict, loadPolicy, processPassphrase, readPublicKeyFile } from '../../trust/index.ts';
import type { PolicyKey } from '../../trust/index.ts';
import { parseDuration } from '../../trust/policy/index.ts';
import {
  archiveReference,
  copyRemarks,
  extractPolicy,
  loadArchive,
  verifyArchive,
} from '../../trust/transfer/index.ts';
import { userState } from '../environment/user-folders.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { withProgress } from '../output/progress.ts';
import { collect, withRegistries, withRegistry } from '../options/registry-options.ts';
import type { RegistryFlags } from '../options/registry-options.ts';
import { tree, withWide } from '../output/terminal.ts';

interface Flags extends RegistryFlags {
  readonly metadata?: string;
  readonly freshFor: string;
  readonly key?: string;
  readonly passphraseFile?: string;
  readonly archiveKey?: string;
  readonly policy?: readonly string[];
  readonly to: string;
  readonly namespace: string;
  readonly trustState: string;
  readonly output: OutputFormat;
}

type CreateFlags = Omit<Flags, 'policy'> & { readonly policy?: string };

const createExamples = `
  $ portcullis trust archive create registry.example.com/pay/app:1.0 app.tar --fresh-for 14d --key archive.key
  $ portcullis trust archive create registry.example.com/pay/app:1.0 app.tar --metadata https://trust.example.com/tuf/registry.example.com/pay/app
  $ portcullis trust archive create registry.example.com/pay/app:1.0 app.tar --policy policy.d --key archive.key       the policy and its trusted roots, too`;

const verifyExamples = `
  $ portcullis trust archive verify app.tar --policy policy.yaml --archive-key archive.pub       no network: reads only the file
  $ portcullis trust archive verify app.tar --archive-key archive.pub                            by the policy that the archive carries`;

const policyExample = `
  $ portcullis trust archive policy app.tar --archive-key archive.pub --to policy.d`;

const loadExample = `
  $ portcullis trust archive load app.tar 10.0.0.5:5000/pay/app:1.0`;

const examples = `
Examples:${createExamples}${verifyExamples}${policyExample}${loadExample}

An archive is an OCI image layout as one tar file: the image with every platform, signatures, attestations,
and signed metadata, and with --policy also a policy with its keys and trusted roots. It is valid until its
own time limit or until its metadata expire, whichever comes first. Later it is refused.`;

export function registerArchive(trust: Command): void {
  const archive = trust
    .command('archive')
    .description('one file with an image, its evidence and signed metadata, to carry over an air gap');
  archive.addHelpText('after', examples);
  registerCreate(archive);
  registerVerify(archive);
  registerPolicy(archive);
  registerLoad(archive);
}

function registerCreate(archive: Command): void {
  const create = archive
    .command('create')
    .description('write an image, its evidence and its signed metadata into one file')
    .argument('<image>', 'reference of the image')
    .argument('<file>', 'to write')
    .option(
      '--metadata <address>',
      'address of its signed metadata, if not stored with it in the registry: https://… or oci://…',
    )
    .option('--policy <path>', 'folder or file of a policy to carry with the image; needs --key')
    .option('--fresh-for <duration>', 'how long the archive may be used', '30d')
    .option('--key <file|uri>', 'key that signs the archive')
    .option('--passphrase-file <file>', 'file whose first line is the passphrase');
  create.addHelpText('after', `\nExamples:${createExamples}`);
  withOutput(withRegistries(create)).action((reference: string, file: string, flags: CreateFlags) => {
    const freshFor = parseDuration(flags.freshFor);
    if (freshFor === undefined)
      return create.error(`error: --fresh-for ${flags.freshFor}: write a duration such as 30d`, {
        exitCode: exitCodes.usage,
      });
    return withRegistry(flags, async (registry) => {
      const made = await withProgress(flags.output, 'archived', (progress) =>
        archiveReference({
          reference,
          file,
          registry,
          freshFor,
          ...(flags.metadata === undefined ? {} : { metadata: flags.metadata }),
          ...(flags.policy === undefined ? {} : { policy: flags.policy }),
          ...(flags.key === undefined ? {} : { key: flags.key }),
          passphrase: processPassphrase(flags.passphraseFile),
          progress,
          now: new Date(),
        }),
      );
      const { digest, evidence, metadata, statement } = made;
      const policy = statement.policy === undefined ? '' : ', policy';
      const held = `pieces of evidence: ${evidence}${metadata ? ', signed metadata' : ''}${policy}${copyRemarks(made)}`;
      print(
        flags.output,
        made,
        `wrote ${digest} (${held}) to ${file}, valid until ${statement.freshUntil}\n`,
      );
      return exitCodes.yes;
    });
  });
}

function registerVerify(archive: Command): void {
  const verify = archive
    .command('verify')
    .description(
      'decide about the image of an archive, from the file alone; exits 0 admitted, 1 denied, 3 undecided',
    )
    .argument('<file>', 'the archive')
    .option(
      '--policy <path>',
      'policy file or folder; may be repeated; default: the policy that the archive carries',
      collect,
    )
    .option('--archive-key <file>', 'public key that must have signed the archive')
    .option('--namespace <name>', 'Kubernetes namespace', '')
    .option(
      '--trust-state <folder>',
      'where accepted state is stored, to detect older archives',
      userState('trust-archives'),
    );
  verify.addHelpText('after', `\nExamples:${verifyExamples}`);
  withOutput(withWide(verify)).action((file: string, flags: Flags) =>
    run(flags.output, async () => {
      const given = flags.policy === undefined ? undefined : await loadPolicy({ paths: flags.policy });
      const input = {
        file,
        ...(given !== undefined && { policy: given.policy }),
        namespace: flags.namespace,
        trustState: flags.trustState,
        now: new Date(),
        ...(await keyOf(flags.archiveKey)),
      };
      const { verdict, statement } = await verifyArchive(input);
      print(flags.output, { statement, verdict }, tree(explainVerdict(verdict)));
      return { admit: exitCodes.yes, deny: exitCodes.no, undecided: exitCodes.undecided }[verdict.outcome];
    }),
  );
}

function registerPolicy(archive: Command): void {
  const policy = archive
    .command('policy')
    .description('write the policy that a signed archive carries to a new folder')
    .argument('<file>', 'the archive')
    .requiredOption('--archive-key <file>', 'public key that must have signed the archive')
    .requiredOption('--to <folder>', 'new folder');
  policy.addHelpText('after', `\nExamples:${policyExample}`);
  withOutput(policy).action((file: string, flags: Flags) =>
    run(flags.output, async () => {
      const { key } = await keyOf(flags.archiveKey);
      if (key === undefined) return exitCodes.usage;
      const files = await extractPolicy({ file, key, to: flags.to, now: new Date() });
      print(
        flags.output,
        { folder: flags.to, files },
        `wrote ${files.length} file${files.length === 1 ? '' : 's'} to ${flags.to}\n`,
      );
      return exitCodes.yes;
    }),
  );
}

function registerLoad(archive: Command): void {
  const load = archive
    .command('load')
    .description('push the image and the evidence of an archive to a registry')
    .argument('<file>', 'the archive')
    .argument('<image>', 'reference of the copy')
    .option('--archive-key <file>', 'public key that must have signed the archive');
  load.addHelpText('after', `\nExamples:${loadExample}`);
  withOutput(withRegistries(load)).action((file: string, to: string, flags: Flags) =>
    withRegistry(flags, async (registry) => {
      const key = await keyOf(flags.archiveKey);
      const copied = await withProgress(flags.output, 'loaded', (progress) =>
        loadArchive({ file, to, registry, progress, now: new Date(), ...key }),
      );
      print(
        flags.output,
        copied,
        `pushed ${copied.digest} as ${copied.reference} (pieces of evidence: ${copied.evidence}${copyRemarks(copied)})\n`,
      );
      return exitCodes.yes;
    }),
  );
}

async function keyOf(file: string | undefined): Promise<{ readonly key?: PolicyKey }> {
  return file === undefined ? {} : { key: await readPublicKeyFile(file) };
}
