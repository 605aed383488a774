import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { Option } from 'commander';
import type { Command } from 'commander';
import { formatReference, parseReference } from '../base/distribution/index.ts';
import type { RegistryRepository } from '../base/distribution/index.ts';
import { PortcullisError } from '../base/errors/index.ts';
import {
  adviceOf,
  decide,
  explainVerdict,
  loadPolicy,
  openRegistries,
  policyOfKey,
  prepareDecision,
  strictestOf,
  verifyFiles,
  verifyImage,
} from '../trust/index.ts';
import type {
  Dossier,
  FileDigest,
  FileFinding,
  Platform,
  TrustPolicy,
  Verdict,
  VerifiedImage,
} from '../trust/index.ts';
import { readRecording, saveRecording } from '../trust/policy/testing/index.ts';
import { mirrorLosses } from '../trust/transfer/index.ts';
import { readInputFile } from './files/input-file.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { openDecider, readPlatform, withDecision } from './options/decision-options.ts';
import type { DecisionFlags } from './options/decision-options.ts';
import { withRefused } from './options/other-tools.ts';
import { collect } from './options/registry-options.ts';
import { tree, withWide } from './output/terminal.ts';

interface VerifyFlags extends DecisionFlags {
  readonly key?: string;
  readonly platform?: Platform;
  readonly offline: boolean;
  readonly dossier?: string;
  readonly saveDossier?: string;
  readonly file?: readonly string[];
  readonly output: OutputFormat;
}

const examples = `
Examples:
  $ portcullis verify registry.example.com/team/app:1 --policy policy.yaml
  $ portcullis verify registry.example.com/team/app:1 --policy policy.yaml --namespace team-a --output json
  $ portcullis verify 127.0.0.1:5000/app:1 --key cosign.pub
  $ portcullis verify registry.example.com/team/app:1 --policy policy.yaml --platform linux/arm64/v8 --save-dossier app.json
  $ portcullis verify registry.example.com/team/app:1 --policy policy.yaml --offline --dossier app.json
  $ portcullis verify registry.example.com/portcullis/release:1.0.0 --policy release.yaml --file portcullis_1.0.0_amd64.deb

Exit status: 0 admitted; 1 denied; 2 wrong use; 3 undecided (a registry or another service did not answer); 4 failed.`;

const inPolicy = 'name the identity in a policy, under require.sigstore, and use --policy FILE';
/** Options of cosign. */
const identityOptions: Readonly<Record<string, string>> = {
  '--certificate-identity': inPolicy,
  '--certificate-identity-regexp': inPolicy,
  '--certificate-oidc-issuer': inPolicy,
  '--certificate-oidc-issuer-regexp': inPolicy,
};

export function register(program: Command): void {
  const command = program
    .command('verify')
    .description('decide whether an image may run, and say why')
    .argument('<image>', 'reference of the image')
    .option('--key <file>', 'public key that must have signed the image, instead of a policy')
    .addOption(
      new Option(
        '--platform <os/arch[/variant]>',
        'platform to select from an index; default: the platform of this machine',
      ).argParser(readPlatform),
    )
    .option(
      '--file <file>',
      'the artifact must also contain this file under its name, byte for byte; may be repeated',
      collect,
    )
    .option('--offline', 'contact no registry: decide from the evidence of --dossier', false)
    .option('--dossier <file>', 'evidence that --save-dossier wrote')
    .option(
      '--save-dossier <file>',
      'write evidence and verdict to a new file, for policy test, simulate and replays',
    )
    .addHelpText('after', examples);
  withRefused(command, identityOptions);
  withOutput(withDecision(withWide(command))).action((image: string, flags: VerifyFlags) => {
    if ((flags.policy === undefined) === (flags.key === undefined)) {
      const both = flags.key === undefined ? '' : ', and not both: a policy names its own keys';
      command.error(`error: name --policy FILE or --key FILE${both}`, { exitCode: exitCodes.usage });
    }
    if (flags.offline !== (flags.dossier !== undefined))
      command.error('error: --offline and --dossier FILE go together', { exitCode: exitCodes.usage });
    if (flags.offline && flags.file !== undefined)
      command.error('error: --file compares with the registry: leave out --offline', {
        exitCode: exitCodes.usage,
      });
    return run(flags.output, () => verify(image, flags));
  });
}

async function verify(reference: string, flags: VerifyFlags): Promise<number> {
  const policy =
    flags.key === undefined
      ? (await loadPolicy({ paths: flags.policy ?? [] })).policy
      : await policyOfKey(flags.key);
  const decided =
    flags.dossier === undefined
      ? await verifyOnline(reference, policy, flags)
      : await verifyOffline(reference, policy, flags.dossier, flags);
  const { verdict, dossier, others, places } = decided;
  if (flags.saveDossier !== undefined && dossier !== undefined)
    await saveRecording(flags.saveDossier, verdict, dossier, others);
  const advice = verdict.outcome === 'admit' ? '' : `  to do: ${adviceOf(verdict)}\n`;
  const files = verdict.outcome === 'admit' ? await filesOf(reference, verdict, flags) : undefined;
  const notes = [...manifestNotes(decided), ...mirrorNotes(reference, verdict, dossier, places)];
  print(
    flags.output,
    { ...verdict, ...(files === undefined ? {} : { files }), ...(notes.length === 0 ? {} : { notes }) },
    [
      tree(`${explainVerdict(verdict)}${advice}`),
      ...(files ?? []).map(describeFile),
      ...notes.map((note) => `note: ${note}\n`),
    ].join(''),
  );
  return files?.some(({ included }) => !included) === true ? exitCodes.no : outcomeCodes[verdict.outcome];
}

/** Compares the files of `--file` with the artifact that was admitted. */
async function filesOf(
  reference: string,
  { manifestDigest }: Verdict,
  flags: VerifyFlags,
): Promise<readonly FileFinding[] | undefined> {
  if (flags.file === undefined) return undefined;
  const files: FileDigest[] = [];
  for (const file of flags.file) {
    const digest = createHash('sha256')
      .update(await readInputFile(file))
      .digest('hex');
    files.push({ file, digest: `sha256:${digest}` });
  }
  const registry = await openRegistries({
    mirrors: flags.registryMirror,
    insecureHosts: flags.insecureRegistry,
  });
  try {
    return await verifyFiles({ reference, manifestDigest, files, registry });
  } finally {
    await registry.close();
  }
}

function describeFile({ file, digest, included, title }: FileFinding): string {
  if (!included && title !== undefined) return `REFUSED  ${file}: the artifact has these bytes as ${title}\n`;
  if (!included) return `REFUSED  ${file}: its digest ${digest} is not among the files of the artifact\n`;
  return `verified ${file}${title === undefined ? '' : ` (${title})`} ${digest}\n`;
}

type Place = Pick<RegistryRepository, 'host' | 'repository'>;

interface Decided extends VerifiedImage {
  /** The places that were asked, in their order. */
  readonly places?: readonly Place[];
}

/** Says which manifest the verdict is about, where container runtimes select different ones. */
function manifestNotes({
  verdict: { platform, outcome, manifestDigest },
  manifests = [],
}: Decided): string[] {
  if (manifests.length < 2) return [];
  const { os, architecture } = platform;
  const about =
    outcome === 'admit'
      ? `each of them is admitted, and the verdict shows ${manifestDigest}`
      : `the verdict is about ${manifestDigest}`;
  return [
    `container runtimes select different manifests of the index for ${os}/${architecture}: ${manifests.join(', ')}; ${about}`,
  ];
}

/** Names mirrors that serve the image but not its evidence: many copy tools drop it silently. */
function mirrorNotes(
  reference: string,
  { outcome }: Verdict,
  dossier: Dossier | undefined,
  places: readonly Place[] = [],
): readonly string[] {
  if (dossier === undefined) return [];
  const losses = mirrorLosses(
    dossier,
    places.map(({ host }) => host),
  ).map(
    ({ mirror, lacking }) =>
      `the mirror ${mirror} lacks ${lacking} pieces of evidence that the registry has; without the registry, the image is denied`,
  );
  const [only] = places;
  const replaced =
    only !== undefined && places.length === 1 && only.host !== parseReference(reference).registry;
  if (outcome === 'admit' || !replaced || dossier.items.length > 0) return losses;
  const copy = `${only.host}/${only.repository}@${dossier.digest}`;
  return [
    `the mirror ${only.host} serves the image and nothing that refers to it; compare it with the registry: portcullis images evidence ${reference} --against ${copy}`,
  ];
}

async function verifyOnline(reference: string, policy: TrustPolicy, flags: VerifyFlags): Promise<Decided> {
  const platform = flags.platform === undefined ? {} : { platform: flags.platform };
  const decider = await openDecider(flags);
  try {
    const decided = await verifyImage({
      reference,
      namespace: flags.namespace,
      policy,
      registry: decider.registry,
      services: decider.services,
      ...platform,
      ...(flags.saveDossier === undefined ? {} : { everyManifest: true }),
      now: new Date(),
    });
    const places = await decider.registry.repositories(parseReference(reference));
    return { ...decided, places };
  } finally {
    await decider.close();
  }
}

/**
 * Decides from a file. The image must be the one that the evidence is about, under the name that the evidence
 * was gathered for.
 */
async function verifyOffline(
  reference: string,
  policy: TrustPolicy,
  file: string,
  flags: VerifyFlags,
): Promise<Decided> {
  const recording = await readRecording(file);
  const { dossier } = recording;
  const dossiers = [dossier, ...(recording.others ?? [])];
  const other = (what: string): PortcullisError =>
    new PortcullisError({
      code: 'CLI_OTHER_DOSSIER',
      kind: 'invalid',
      attempted: 'decide offline',
      on: reference,
      why: `the evidence of ${file} is about ${what}`,
      fix: 'name that image, or save the evidence of this image: portcullis verify IMAGE --save-dossier FILE',
    });
  const wanted = formatReference(parseReference(reference));
  for (const about of dossiers) if (wanted !== about.reference) throw other(about.reference);
  // The evidence includes the platform's manifest. Evidence of one platform must not count for another
  // platform.
  const { os, architecture, variant } = recording.platform;
  if (flags.platform !== undefined && !isDeepStrictEqual(flags.platform, recording.platform))
    throw other([os, architecture, ...(variant === undefined ? [] : [variant])].join('/'));
  const question = {
    reference,
    namespace: flags.namespace,
    platform: recording.platform,
    policy,
    now: new Date(),
  };
  await prepareDecision(policy);
  const judged = dossiers.map((one) => ({ verdict: decide({ ...question, dossier: one }), dossier: one }));
  return { ...strictestOf(judged), manifests: dossiers.map(({ manifestDigest }) => manifestDigest) };
}

const outcomeCodes: Readonly<Record<Verdict['outcome'], number>> = {
  admit: exitCodes.yes,
  deny: exitCodes.no,
  undecided: exitCodes.undecided,
};
