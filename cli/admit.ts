import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import {
  admitImages,
  gateReport,
  gateText,
  isIncomplete,
  largestSource,
  loadWaivers,
  readImageSources,
  reportFormats,
  signSummaries,
  standardInput,
} from '../trust/gate/index.ts';
import type {
  AdmitInput,
  GateQuestion,
  SummariesInput,
  GateResult,
  ImageSource,
  ReportFormat,
} from '../trust/gate/index.ts';
import { loadPolicy, policyOfKey } from '../trust/index.ts';
import type { Signer, Platform, TrustPolicy } from '../trust/index.ts';
import manifest from '../package.json' with { type: 'json' };
import { readInputFile, readStandardInput } from './files/input-file.ts';
import { prepareReports, writeReport } from './files/report-file.ts';
import { openDecider, readPlatform, withDecision } from './options/decision-options.ts';
import type { DecisionFlags } from './options/decision-options.ts';
import { collect } from './options/registry-options.ts';
import { openSignerOf, signerHelp, withSigner } from './options/signer-options.ts';
import type { SignerFlags } from './options/signer-options.ts';
import { exitCodes, fail, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { printableText } from './output/printable.ts';
import { tree, withWide } from './output/terminal.ts';

/** A report that the command writes, and its file. */
interface Report {
  readonly format: ReportFormat;
  /** `-`: standard output. */
  readonly file: string;
}

interface AdmitFlags extends DecisionFlags, SignerFlags {
  readonly vsa: boolean;
  readonly verifierId?: string;
  readonly vsaDir?: string;
  readonly vsaPush: boolean;
  readonly policyUri?: string;
  readonly builderLevel: ReadonlyMap<string, number>;
  readonly platform: readonly (Platform | 'all')[];
  readonly imagesFrom: readonly string[];
  readonly allowUnread: boolean;
  readonly report: readonly Report[];
  readonly waivers: readonly string[];
  readonly output: OutputFormat;
}

const examples = `
Images are arguments, or come from files (--images-from): a list with one reference on each line, or
Kubernetes manifests. In manifests, the images of all containers and image volumes are checked, also in
templates of Argo Workflows and in tasks of Tekton, each in the namespace of its object (--namespace for an
object without one). Objects that a custom object refers to by name are not checked, and neither are fields of
unknown meaning: add their manifests or images to the command, or accept them with --allow-unread.

Examples:
  $ portcullis admit registry.example.com/team/app:1 registry.example.com/team/db:1 --policy policy.yaml
  $ portcullis admit --images-from manifests.yaml --policy policy/ --report sarif=gate.sarif --report junit=gate.xml
  $ helm template chart | portcullis admit --images-from - --policy policy.yaml --namespace shop
  $ portcullis admit registry.example.com/team/app:1 --policy policy.yaml --vsa --key gate.key --verifier-id https://ci.example.com/gate
  $ portcullis admit registry.example.com/team/app:1 --policy policy.yaml --platform all --report markdown=- >> "$GITHUB_STEP_SUMMARY"

With --vsa, --key is the key that signs the summaries. Without --policy, it is the public key that must have signed every image.
${signerHelp}

Exit status: 0 every image is admitted or waived; 1 an image is denied; 2 wrong use; 3 no image is denied, and
one is undecided (a registry or another service did not answer); 4 failed, for example because an image does
not exist, or because a part of a manifest is not read. Reports are written unless the status is 2.`;

export function register(program: Command): void {
  const command = program
    .command('admit')
    .description('decide about many images at once, for a pipeline, and write reports')
    .argument('[images...]', 'references of images')
    .option(
      '--images-from <file>',
      'list of references or manifests; - reads standard input; may be repeated',
      collect,
      [],
    )
    .option('--allow-unread', 'accept parts of manifests whose images are not checked', false)
    .addOption(
      new Option(
        '--platform <os/arch[/variant]>',
        'platform to select from an index, or "all"; may be repeated; default: the platform of this machine',
      )
        .argParser((text: string, before: AdmitFlags['platform']) => [
          ...before,
          text === 'all' ? ('all' as const) : readPlatform(text),
        ])
        .default([], 'the platform of this machine'),
    )
    .addOption(
      new Option(
        '--report <format=file>',
        `write a report (${reportFormats.join(', ')}), with the folders that its file needs; - is standard output; may be repeated`,
      )
        .argParser((text: string, before: readonly Report[]) => [...before, readReport(text)])
        .default([], 'none'),
    )
    .option(
      '--waivers <path>',
      'file or folder of waivers: denied images pass until the waiver expires; may be repeated',
      collect,
      [],
    )
    .option('--vsa', 'sign a verification summary (SLSA VSA) for each admitted image and attach it', false)
    .option(
      '--verifier-id <uri>',
      'ID of the verifier in the summaries; policies refer to the verifier by this ID',
    )
    .option('--vsa-dir <folder>', 'also write the summaries to files in this folder')
    .option('--no-vsa-push', 'do not attach the summaries to the images')
    .option(
      '--policy-uri <uri>',
      'URI of the policy in the summaries; default: a URN with the revision of the policy',
    )
    .addOption(
      new Option(
        '--builder-level <id=level>',
        'SLSA build level of a builder, for images whose policy demands provenance; may be repeated',
      )
        .argParser(
          (text: string, before: ReadonlyMap<string, number>) => new Map([...before, readLevel(text)]),
        )
        .default(new Map(), 'none'),
    )
    .addHelpText('after', examples);
  withOutput(withDecision(withSigner(withWide(command)))).action(
    (images: readonly string[], flags: AdmitFlags) => {
      const wrong = wrongUse(images, flags);
      if (wrong !== undefined) command.error(`error: ${wrong}`, { exitCode: exitCodes.usage });
      return run(flags.output, () => admit(images, flags));
    },
  );
}

function wrongUse(images: readonly string[], flags: AdmitFlags): string | undefined {
  const toOutput = flags.report.filter(({ file }) => file === '-').length;
  if (flags.policy === undefined && flags.key === undefined) return 'name --policy FILE or --key FILE';
  const signing = signingProblem(flags);
  if (signing !== undefined) return signing;
  if (images.length === 0 && flags.imagesFrom.length === 0) return 'name an image, or --images-from FILE';
  if (flags.imagesFrom.filter((file) => file === '-').length > 1)
    return 'standard input can be read once: name --images-from - once';
  if (toOutput > 1 || (toOutput === 1 && flags.output !== 'text'))
    return 'standard output can contain only one result: name a file for each other report';
  if (flags.platform.includes('all') && flags.platform.length > 1)
    return '--platform all cannot be combined with another platform';
  return undefined;
}

/** Without `--vsa`, `--key` is the public key that decides, as in `verify`. With it, the key signs. */
function signingProblem(flags: AdmitFlags): string | undefined {
  if (!flags.vsa) {
    if (flags.policy !== undefined && flags.key !== undefined)
      return 'use --key with --vsa to sign summaries, or without --policy as the public key of the signer';
    const extra = [
      ...(flags.keyless ? ['--keyless'] : []),
      ...(flags.verifierId === undefined ? [] : ['--verifier-id']),
      ...(flags.vsaDir === undefined ? [] : ['--vsa-dir']),
      ...(flags.vsaPush ? [] : ['--no-vsa-push']),
      ...(flags.policyUri === undefined ? [] : ['--policy-uri']),
    ];
    return extra.length === 0 ? undefined : `${extra.join(', ')}: only with --vsa`;
  }
  if (flags.policy === undefined) return '--vsa needs --policy FILE: a summary names the policy';
  if ((flags.key === undefined) !== flags.keyless)
    return '--vsa needs a signer: name --key FILE (or a pkcs11: URI), or --keyless';
  if (flags.verifierId === undefined || !/^[a-z][a-z0-9+.-]*:\S+$/iu.test(flags.verifierId))
    return '--vsa needs --verifier-id URI, such as https://ci.example.com/gate';
  return flags.vsaPush || flags.vsaDir !== undefined ? undefined : '--no-vsa-push needs --vsa-dir FOLDER';
}

async function admit(images: readonly string[], flags: AdmitFlags): Promise<number> {
  const { policy, files } = await policyFrom(flags);
  const asked = await questionsFrom(images, flags);
  const reports = await prepareReports(flags.report);
  const { result, signed } = await decideAll(asked, policy, flags);
  const context = { version: manifest.version, policyFiles: files, folder: process.cwd() };
  let code = codeOf(result, signed);
  let printed = false;
  for (const { format, path } of reports) {
    const content = gateReport(format, result, context);
    if (path === '-') {
      process.stdout.write(content);
      printed = true;
      continue;
    }
    try {
      await writeReport(path, content);
    } catch (error) {
      // A report that cannot be written does not change the decision: a denial stays a denial.
      await fail(flags.output, error);
      if (code === exitCodes.yes) code = exitCodes.failed;
    }
  }
  if (flags.output !== 'text') print(flags.output, result, '');
  else (printed ? process.stderr : process.stdout).write(printableText(tree(gateText(result))));
  return code;
}

async function policyFrom(
  flags: AdmitFlags,
): Promise<{ readonly policy: TrustPolicy; readonly files: readonly string[] }> {
  if (flags.policy !== undefined) return loadPolicy({ paths: flags.policy });
  const key = flags.key ?? '';
  return { policy: await policyOfKey(key), files: [key] };
}

/** The images that the run decides about, and what was not read. */
type Asked = Pick<AdmitInput, 'questions' | 'unread'>;

async function questionsFrom(
  images: readonly string[],
  { imagesFrom, namespace, allowUnread }: AdmitFlags,
): Promise<Asked> {
  const sources: ImageSource[] = [];
  for (const name of imagesFrom) {
    const bytes = await (name === '-'
      ? readStandardInput(largestSource)
      : readInputFile(name, largestSource));
    sources.push({ file: name === '-' ? standardInput : name, text: bytes.toString('utf8') });
  }
  const { questions, unread } = readImageSources(sources, namespace, images);
  return {
    questions: [
      ...images.map((reference): GateQuestion => ({ reference, namespace, places: [] })),
      ...questions,
    ],
    unread: { allowed: allowUnread, parts: unread },
  };
}

/** The decisions, and whether the summaries could be signed at all. */
interface Decided {
  readonly result: GateResult;
  readonly signed: boolean;
}

async function decideAll(asked: Asked, policy: TrustPolicy, flags: AdmitFlags): Promise<Decided> {
  const waivers = flags.waivers.length === 0 ? [] : await loadWaivers(flags.waivers, new Date());
  // A key that cannot sign is reported before the work. The certificate of an identity lasts some minutes.
  const early = flags.vsa && !flags.keyless ? await openSignerOf(flags) : undefined;
  const decider = await openDecider(flags);
  const { registry, services } = decider;
  const allPlatforms = flags.platform.includes('all');
  const platforms = allPlatforms ? 'all' : flags.platform.filter((platform) => platform !== 'all');
  const [now, builders] = [new Date(), flags.builderLevel];
  try {
    const input = { ...asked, policy, registry, services, platforms, now, builders, waivers } as const;
    const result = await admitImages(input);
    if (!flags.vsa) return { result, signed: true };
    try {
      return { result: await sign(result, { registry, allPlatforms, now }, flags, early), signed: true };
    } catch (error) {
      // The decisions do not change, and their reports are written.
      await fail(flags.output, error);
      return { result, signed: false };
    }
  } finally {
    await early?.close();
    await decider.close();
  }
}

async function sign(
  result: GateResult,
  asked: Pick<SummariesInput, 'registry' | 'allPlatforms' | 'now'>,
  flags: AdmitFlags,
  early: Signer | undefined,
): Promise<GateResult> {
  const signer = early ?? (await openSignerOf(flags));
  try {
    return await signSummaries(result, {
      ...{ ...asked, signer, push: flags.vsaPush, version: manifest.version },
      verifier: flags.verifierId ?? '',
      ...(flags.policyUri === undefined ? {} : { policyUri: flags.policyUri }),
      ...(flags.vsaDir === undefined ? {} : { folder: flags.vsaDir }),
    });
  } finally {
    if (early === undefined) await signer.close();
  }
}

/** A denied image takes precedence over an image whose decision failed or is undecided. */
function codeOf(result: GateResult, signed: boolean): number {
  const { counts, images } = result;
  if (counts.denied > 0) return exitCodes.no;
  if (counts.undecided > 0) return exitCodes.undecided;
  const unsigned = !signed || images.some(({ summary }) => summary?.status === 'failed');
  return counts.failed > 0 || unsigned || isIncomplete(result) ? exitCodes.failed : exitCodes.yes;
}

function readLevel(text: string): readonly [string, number] {
  const [, id, level] = /^(\S+)=([0-3])$/u.exec(text) ?? [];
  if (id === undefined || level === undefined)
    throw new InvalidArgumentError('write ID=LEVEL, with a level from 0 to 3');
  return [id, Number(level)];
}

function readReport(text: string): Report {
  const split = text.indexOf('=');
  const [name, file] = [text.slice(0, split), text.slice(split + 1)];
  const format = reportFormats.find((each) => each === name);
  if (split < 0 || format === undefined || file === '')
    throw new InvalidArgumentError(`write FORMAT=FILE, with one of ${reportFormats.join(', ')}`);
  return { format, file };
}
