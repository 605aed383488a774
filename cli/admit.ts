import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import {
  admitImages,
  gateReport,
  gateText,
  largestSource,
  loadPolicy,
  policyOfKey,
  readImageSources,
  reportFormats,
  standardInput,
} from '../trust/index.ts';
import type {
  GateQuestion,
  GateResult,
  ImageSource,
  Platform,
  ReportFormat,
  TrustPolicy,
} from '../trust/index.ts';
import manifest from '../package.json' with { type: 'json' };
import { readInputFile, readStandardInput } from './files/input-file.ts';
import { prepareReport, writeReport } from './files/report-file.ts';
import { openDecider, readPlatform, withDecision } from './options/decision-options.ts';
import type { DecisionFlags } from './options/decision-options.ts';
import { collect } from './options/registry-options.ts';
import { exitCodes, fail, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { printableText } from './output/printable.ts';
import { tree, withWide } from './output/terminal.ts';

/** A report that the command writes, and where. */
interface Report {
  readonly format: ReportFormat;
  /** `-`: standard output. */
  readonly file: string;
}

interface AdmitFlags extends DecisionFlags {
  readonly key?: string;
  readonly platform: readonly (Platform | 'all')[];
  readonly imagesFrom: readonly string[];
  readonly report: readonly Report[];
  readonly output: OutputFormat;
}

const examples = `
Images are arguments, or come from files (--images-from): a list with one reference on each line, or Kubernetes manifests, of which the
images of all containers and image volumes count, in the namespace of each object (--namespace where it names none).

Examples:
  $ portcullis admit registry.example.com/team/app:1 registry.example.com/team/db:1 --policy policy.yaml
  $ portcullis admit --images-from manifests.yaml --policy policy/ --report sarif=gate.sarif --report junit=gate.xml
  $ helm template chart | portcullis admit --images-from - --policy policy.yaml --namespace shop
  $ portcullis admit registry.example.com/team/app:1 --policy policy.yaml --platform all --report markdown=- >> "$GITHUB_STEP_SUMMARY"

Exit status: 0 every image is admitted; 1 one is denied; 3 none is denied, and one is undecided (a registry or another service did not
answer); 2 wrong use; 4 failed, such as an image that does not exist. Reports are written in each case but 2.`;

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
        `write a report (${reportFormats.join(', ')}); - is standard output; may be repeated`,
      )
        .argParser((text: string, before: readonly Report[]) => [...before, readReport(text)])
        .default([], 'none'),
    )
    .option('--key <file>', 'without --policy: the public key that must have signed every image')
    .addHelpText('after', examples);
  withOutput(withDecision(withWide(command))).action((images: readonly string[], flags: AdmitFlags) => {
    const wrong = wrongUse(images, flags);
    if (wrong !== undefined) command.error(`error: ${wrong}`, { exitCode: exitCodes.usage });
    return run(flags.output, () => admit(images, flags));
  });
}

function wrongUse(images: readonly string[], flags: AdmitFlags): string | undefined {
  const toOutput = flags.report.filter(({ file }) => file === '-').length;
  if ((flags.policy === undefined) === (flags.key === undefined)) return 'name --policy FILE or --key FILE';
  if (images.length === 0 && flags.imagesFrom.length === 0) return 'name an image, or --images-from FILE';
  if (flags.imagesFrom.filter((file) => file === '-').length > 1)
    return 'standard input can be read once: name --images-from - once';
  if (toOutput > 1 || (toOutput === 1 && flags.output === 'json'))
    return 'standard output has room for one result: name a file for each further report';
  if (flags.platform.includes('all') && flags.platform.length > 1)
    return '--platform all includes every other platform';
  return undefined;
}

async function admit(images: readonly string[], flags: AdmitFlags): Promise<number> {
  const { policy, files } = await policyFrom(flags);
  const questions = await questionsFrom(images, flags);
  const reports: (Report & { readonly path: string })[] = [];
  for (const report of flags.report)
    reports.push({ ...report, path: report.file === '-' ? '-' : await prepareReport(report.file) });
  const result = await decideAll(questions, policy, flags);
  const context = { version: manifest.version, policyFiles: files, folder: process.cwd() };
  let code = codeOf(result);
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
      // The decision stands without the report, and a denial stays one.
      await fail(flags.output, error);
      if (code !== exitCodes.no) code = exitCodes.failed;
    }
  }
  if (flags.output === 'json') process.stdout.write(gateReport('json', result, context));
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

async function questionsFrom(
  images: readonly string[],
  { imagesFrom, namespace }: AdmitFlags,
): Promise<readonly GateQuestion[]> {
  const sources: ImageSource[] = [];
  for (const name of imagesFrom) {
    const bytes = await (name === '-'
      ? readStandardInput(largestSource)
      : readInputFile(name, largestSource));
    sources.push({ file: name === '-' ? standardInput : name, text: bytes.toString('utf8') });
  }
  return [
    ...images.map((reference): GateQuestion => ({ reference, namespace, places: [] })),
    ...readImageSources(sources, namespace),
  ];
}

async function decideAll(
  questions: readonly GateQuestion[],
  policy: TrustPolicy,
  flags: AdmitFlags,
): Promise<GateResult> {
  const decider = await openDecider(flags);
  const platforms = flags.platform.filter((platform) => platform !== 'all');
  try {
    return await admitImages({
      questions,
      policy,
      registry: decider.registry,
      services: decider.services,
      platforms: flags.platform.includes('all') ? 'all' : platforms,
      now: new Date(),
    });
  } finally {
    await decider.close();
  }
}

/** A denied image is never hidden by one that nothing is known about. */
function codeOf({ counts }: GateResult): number {
  if (counts.denied > 0) return exitCodes.no;
  if (counts.undecided > 0) return exitCodes.undecided;
  return counts.failed > 0 ? exitCodes.failed : exitCodes.yes;
}

function readReport(text: string): Report {
  const split = text.indexOf('=');
  const [name, file] = [text.slice(0, split), text.slice(split + 1)];
  const format = reportFormats.find((each) => each === name);
  if (split < 0 || format === undefined || file === '')
    throw new InvalidArgumentError(`write FORMAT=FILE, with one of ${reportFormats.join(', ')}`);
  return { format, file };
}
