import type { Command } from 'commander';
import { explainVerdict, loadPolicy } from '../../trust/index.ts';
import { simulatePolicy, testPolicy } from '../../trust/policy/testing/index.ts';
import type { CaseResult, Simulation } from '../../trust/policy/testing/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';

interface TestFlags {
  readonly output: OutputFormat;
  readonly policy: readonly string[];
  readonly coverage: boolean;
}

interface SimulateFlags {
  readonly output: OutputFormat;
  readonly policy: readonly string[];
  readonly baseline: readonly string[];
  readonly at?: string;
}

const testExamples = `
A test file holds documents of kind PolicyTest: images with given evidence (test keys replace the policy's), or dossiers that
"portcullis verify --save-dossier FILE" recorded, and the verdict that is expected of each. See docs/policy.md.

Examples:
  $ portcullis policy test policy-test.yaml
  $ portcullis policy test tests/ --policy policy.yaml --coverage --output json

Exit status: 0 every case passed; 1 a case failed (with --coverage also: a rule was never reached); 2 a file is not valid.`;

const simulateExamples = `
Paths: files that "portcullis verify --save-dossier FILE" wrote, folders of them, a daemon's database (state.db in its root folder), or
an exported verdict log (*.jsonl). The evidence is what was gathered at that time: it lacks evidence that only a new rule asks for.

Examples:
  $ portcullis policy simulate --policy new.yaml /var/lib/portcullis/state.db
  $ portcullis policy simulate --policy new.yaml --baseline policy.yaml dossiers/

Exit status: 0 nothing changes; 1 something does; 2 wrong input, or all recordings were left out.`;

export function registerTest(policy: Command): void {
  withOutput(
    policy
      .command('test')
      .description('run tests of a policy')
      .argument('<path...>', 'test files or folders')
      .option(
        '--policy <path>',
        'policy that replaces the one named in the test; may be repeated',
        collect,
        [],
      )
      .option('--coverage', 'fail when no case reaches a rule', false),
  )
    .addHelpText('after', testExamples)
    .action((paths: readonly string[], flags: TestFlags) => run(flags.output, () => test(paths, flags)));
  withOutput(
    policy
      .command('simulate')
      .description('report what a policy would change for images that were decided earlier')
      .argument('<path...>', 'recorded evidence')
      .requiredOption('--policy <path>', 'the new policy; may be repeated', collect)
      .option(
        '--baseline <path>',
        'compare with this policy instead of the recorded decision; may be repeated',
        collect,
        [],
      )
      .option('--at <time>', 'decide for this moment (ISO 8601) instead of now'),
  )
    .addHelpText('after', simulateExamples)
    .action((paths: readonly string[], flags: SimulateFlags, command: Command) => {
      if (flags.at !== undefined && Number.isNaN(Date.parse(flags.at)))
        command.error(`error: --at ${flags.at} is not a time`, { exitCode: exitCodes.usage });
      return run(flags.output, () => simulate(paths, flags));
    });
}

async function test(paths: readonly string[], flags: TestFlags): Promise<number> {
  const { cases, unreached } = await testPolicy({ paths, policy: flags.policy, now: new Date() });
  const failed = cases.filter(({ passed }) => !passed);
  const text = [
    ...cases.map(describeCase),
    ...unreached.map((rule) => `no case reaches rule ${rule}\n`),
    `${cases.length - failed.length} passed, ${failed.length} failed, ${unreached.length} rule${unreached.length === 1 ? '' : 's'} not reached\n`,
  ];
  print(
    flags.output,
    { cases, unreached, passed: cases.length - failed.length, failed: failed.length },
    text.join(''),
  );
  return failed.length > 0 || (flags.coverage && unreached.length > 0) ? exitCodes.no : exitCodes.yes;
}

function describeCase({ place, name, passed, verdict, failures }: CaseResult): string {
  if (passed) return `ok    ${name}\n`;
  return `FAIL  ${name} (${place}): ${failures.join('; ')}\n${explainVerdict(verdict).replaceAll(/^/gm, '      ').trimEnd()}\n`;
}

async function simulate(paths: readonly string[], flags: SimulateFlags): Promise<number> {
  const { policy: candidate } = await loadPolicy({ paths: flags.policy });
  const baseline =
    flags.baseline.length === 0 ? {} : { baseline: (await loadPolicy({ paths: flags.baseline })).policy };
  const simulation = await simulatePolicy({
    candidate,
    ...baseline,
    paths,
    now: flags.at === undefined ? new Date() : new Date(flags.at),
  });
  print(flags.output, { policyRevision: candidate.revision, ...simulation }, describeSimulation(simulation));
  if (simulation.changes.length > 0) return exitCodes.no;
  // Without a single decision, the answer is not that nothing changes.
  const isUndecided = simulation.decided === 0 && simulation.skipped.length > 0;
  return isUndecided ? exitCodes.usage : exitCodes.yes;
}

function describeSimulation({ decided, changes, skipped }: Simulation): string {
  const lines = changes.map(
    ({ reference, namespace, before, after, verdict }) =>
      `${before} → ${after}  ${reference}${namespace === '' ? '' : ` in ${namespace}`}\n${explainVerdict(verdict).replaceAll(/^/gm, '    ').trimEnd()}\n`,
  );
  const left = skipped.map(({ name, why }) => `left out: ${name}: ${why}\n`);
  return `${lines.join('')}${left.join('')}${decided} decided again, ${changes.length} would change, ${skipped.length} left out\n`;
}
