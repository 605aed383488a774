import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { describePolicy, explainPolicy, explainReason, loadPolicy } from '../trust/index.ts';
import type { PolicyExplanation } from '../trust/index.ts';
import { starterPolicy, writeStarterPolicy } from '../trust/policy/index.ts';
import { readStandardInput } from './files/input-file.ts';
import { policyCheckAnswers } from './output/exit-codes.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { shellWord } from './output/shell-word.ts';
import { registerConvert } from './policy/convert.ts';
import { registerFormat } from './policy/format.ts';
import { registerPublish } from './policy/publish.ts';
import { registerRollout } from './policy/rollout.ts';
import { registerStatus } from './policy/status.ts';
import { registerSubscribe } from './policy/subscribe.ts';
import { registerTest } from './policy/test.ts';
import { namespaceOption } from './options/decision-options.ts';
import { collect } from './options/registry-options.ts';
import { tree, withWide } from './output/terminal.ts';

interface Flags {
  readonly output: OutputFormat;
}

interface ExplainFlags extends Flags {
  readonly policy: readonly string[];
  readonly namespace: string;
}

export function register(program: Command): void {
  const policy = program
    .command('policy')
    .description('write, check, explain, test, simulate, import, export, publish and follow trust policies');
  withOutput(
    policy
      .command('init')
      .description('print a commented policy to begin with, or write it')
      .argument('[file]', 'file to write; it must not exist'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis policy init\n  $ portcullis policy init policy.yaml     also writes the schema beside it, for editors',
    )
    .action((file: string | undefined, flags: Flags) => run(flags.output, () => init(file, flags)));
  withOutput(
    policy
      .command('check')
      .description(
        'check policies and profiles as the daemon loads them: every problem at once, as file:line:column',
      )
      .argument('<path...>', 'files or folders; -: standard input'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis policy check policy.yaml\n  $ portcullis policy check /etc/portcullis/policy.d --output json\n\nExit status: 0 valid: the daemon would put these files in force; 1 not valid; 2 the files cannot be read.',
    )
    .action((paths: readonly string[], flags: Flags) =>
      run(flags.output, () => check(paths, flags), policyCheckAnswers),
    );
  withOutput(
    withWide(policy.command('explain'))
      .description('show which rules match an image and what they require; contacts no registry')
      .argument('[image]', 'reference of the image; without one, every rule is described')
      .requiredOption('--policy <path>', 'policy file or folder; may be repeated', collect)
      .addOption(namespaceOption()),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis policy explain busybox:1 --policy policy.yaml --namespace team-a\n  $ portcullis policy explain --policy policy.yaml        every rule in words\n\nExit status: 0 some evidence could admit the image; 1 no evidence could.',
    )
    .action((image: string | undefined, flags: ExplainFlags) =>
      run(flags.output, () => explain(image, flags)),
    );
  registerTest(policy);
  registerFormat(policy);
  registerConvert(policy);
  registerPublish(policy);
  registerRollout(policy);
  registerSubscribe(policy);
  registerStatus(policy);
}

async function init(file: string | undefined, flags: Flags): Promise<number> {
  if (file === undefined) {
    const text = starterPolicy();
    print(flags.output, { policy: text }, text);
    return exitCodes.yes;
  }
  const written = await writeStarterPolicy(file);
  const prefix = join(dirname(written.file), 'cosign');
  print(
    flags.output,
    written,
    `wrote ${written.file} (schema for editors: ${written.schemaFile})
Before this policy can be used, name your images in it, and put your public key into ${prefix}.pub.
If you have no key pair: portcullis sign --generate-key ${shellWord(prefix)}
Then check the policy:   portcullis policy check ${shellWord(written.file)}
`,
  );
  return exitCodes.yes;
}

/** More than any policy has. */
const mostBytes = 4 * 2 ** 20;

async function check(paths: readonly string[], flags: Flags): Promise<number> {
  const { loadPolicySet } = await import('../runtime/index.ts');
  const input = paths.includes('-') ? await readStandardInput(mostBytes) : undefined;
  const { policy, profiles, otherDocuments, files } = await loadPolicySet({
    paths,
    ...(input === undefined ? {} : { standardInput: input }),
  });
  const count = `${policy.rules.length} rule${policy.rules.length === 1 ? '' : 's'}`;
  const others = otherDocuments.flatMap(({ kind, name }) =>
    kind === 'PolicyTest' || kind === 'Waivers' ? [`not part of the policy: ${kind} ${name}\n`] : [],
  );
  const defined = profiles.defined.map(({ name }) => name);
  const named =
    defined.length === 0 ? '' : `, profile${defined.length === 1 ? '' : 's'} ${defined.join(', ')}`;
  print(
    flags.output,
    { valid: true, revision: policy.revision, rules: policy.rules, profiles: defined, otherDocuments, files },
    `valid: ${count}${named}, revision ${policy.revision}\n${others.join('')}`,
  );
  return exitCodes.yes;
}

async function explain(image: string | undefined, flags: ExplainFlags): Promise<number> {
  const { policy } = await loadPolicy({ paths: flags.policy });
  if (image === undefined) {
    const reasons = describePolicy(policy, new Date());
    print(flags.output, { policyRevision: policy.revision, reasons }, tree(explainReason(reasons)));
    return exitCodes.yes;
  }
  const explanation: PolicyExplanation = explainPolicy(policy, image, flags.namespace);
  print(flags.output, explanation, tree(explainReason(explanation.reasons)));
  return explanation.outcome === 'denied' ? exitCodes.no : exitCodes.yes;
}
