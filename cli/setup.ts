import type { Command } from 'commander';
import { PortcullisError } from '../base/errors/index.ts';
import { freeSubnet } from '../cni-plugins/index.ts';
import { processPassphrase } from '../trust/index.ts';
import { defaultImages } from '../trust/policy/index.ts';
import { daemonFlagsOf, withDaemonFlags } from './options/daemon-flags.ts';
import { reportDropped } from './network/dropped.ts';
import { exitCodes, print, run, withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';
import { collect } from './options/registry-options.ts';
import { openQuestions } from './setup/ask.ts';
import type { Questions } from './setup/ask.ts';
import { readFound } from './setup/found.ts';
import type { Found } from './setup/found.ts';
import { makePlan } from './setup/plan.ts';
import type { Choices, Plan } from './setup/plan.ts';
import { formatPlan, formatResult } from './setup/print.ts';
import { requireWritablePlan, writePlan } from './setup/write.ts';

interface Flags {
  readonly config?: string;
  readonly images?: readonly string[];
  readonly key?: string;
  readonly passphraseFile?: string;
  readonly subnet?: readonly string[];
  readonly network: boolean;
  readonly yes: boolean;
  readonly dryRun: boolean;
  readonly output: OutputFormat;
}

const help = `
Prepares a node for its first image: a trust policy, the network of pods and, if asked for, a key pair for
signing. It reads the configuration of the daemon, and writes to the folders that the daemon reads. The flags
of the daemon are written into its configuration file. On a terminal it asks; without a terminal, use flags
and --yes. Existing files are never changed, and a run can be repeated.

Examples:
  $ portcullis setup                                          asks, shows each file, and asks before it writes
  $ portcullis setup --dry-run                                shows what would be written
  $ portcullis setup --images 'registry.example.com/team/**' --key cosign --passphrase-file passphrase --yes
  $ portcullis setup --subnet 10.88.0.0/16 --registry-mirror docker.io=https://mirror.example.com --yes

Exit status: 0 prepared, or shown by --dry-run; 1 the answer was no; 2 wrong use, or no confirmation; 4
failed.`;

/** `portcullis setup`: writes what a node needs before the daemon can run a first image. */
export function register(program: Command): void {
  const command = withOutput(program.command('setup'))
    .description('prepare this machine for the daemon: policy, network, key pair and configuration')
    .option(
      '--images <pattern>',
      'images that the new policy admits once they are signed; may be repeated',
      collect,
    )
    .option('--key <prefix>', 'make the key pair PREFIX.key and PREFIX.pub, and let the new policy trust it')
    .option(
      '--passphrase-file <file>',
      'file with the passphrase of the private key (else PORTCULLIS_PASSPHRASE, or the terminal)',
    )
    .option(
      '--subnet <cidr>',
      'subnet of the pods, IPv4 or IPv6; may be repeated; default: a private one that this host does not use',
      collect,
    )
    .option('--no-network', 'write no network')
    .option('--yes', 'write without asking', false)
    .option('--dry-run', 'show what would be written, and write nothing', false)
    .option('--config <file>', 'configuration file of the daemon (default: /etc/portcullis/config.yaml)');
  withDaemonFlags(command)
    .addHelpText('after', help)
    .action((flags: Flags) => {
      if (!flags.network && flags.subnet !== undefined)
        command.error('error: give --subnet or --no-network, not both', { exitCode: exitCodes.usage });
      // On a terminal, the prefix may be an answer.
      if (flags.passphraseFile !== undefined && flags.key === undefined && !asks(flags))
        command.error('error: --passphrase-file goes with --key PREFIX', { exitCode: exitCodes.usage });
      return run(flags.output, () => setUp(flags));
    });
}

async function setUp(flags: Flags): Promise<number> {
  const found = await readFound(flags.config, daemonFlagsOf({ ...flags }));
  if (!asks(flags)) {
    const plan = await makePlan(found, choicesOf(flags));
    if (flags.yes && !flags.dryRun) return write(plan, flags);
    show(plan, flags);
    if (flags.dryRun || isComplete(plan)) return exitCodes.yes;
    throw unconfirmed();
  }
  const questions = openQuestions();
  let plan: Plan;
  try {
    plan = await makePlan(found, await askChoices(questions, found, flags));
    show(plan, flags);
    if (isComplete(plan)) return exitCodes.yes;
    if (!(await questions.confirm('Write these files? [y/N] '))) {
      process.stderr.write('nothing was written\n');
      return exitCodes.no;
    }
  } finally {
    // The question for a passphrase reads the terminal itself.
    questions.close();
  }
  return write(plan, flags);
}

function asks({ output, yes, dryRun }: Flags): boolean {
  return output === 'text' && !yes && !dryRun && process.stdin.isTTY && process.stderr.isTTY;
}

function choicesOf({ images = defaultImages, key, subnet, network }: Flags): Choices {
  return { images, ...(key !== undefined && { key }), subnets: network ? (subnet ?? 'auto') : 'none' };
}

/**
 * Asks for settings that no flag gives and the machine does not have. Wrong flags fail before the first
 * question; a wrong answer is asked for again.
 */
async function askChoices(questions: Questions, found: Found, flags: Flags): Promise<Choices> {
  let choices = choicesOf(flags);
  await requireWritablePlan(await makePlan(found, choices));
  const ask = async (question: string, chosen: (answer: string) => Partial<Choices>): Promise<void> => {
    choices = await questions.ask(question, async (answer) => {
      const next = { ...choices, ...chosen(answer) };
      await requireWritablePlan(await makePlan(found, next));
      return next;
    });
  };
  if (flags.images === undefined && !found.policy.kept)
    await ask(`Images that may run once they are signed [${defaultImages.join(' ')}]: `, (answer) =>
      answer === '' ? {} : { images: wordsOf(answer) },
    );
  if (choices.key === undefined && !found.policy.kept)
    await ask(
      'Key pair for signing: prefix of its files, such as ./cosign (empty: none, or you have one): ',
      (key) => (key === '' ? {} : { key }),
    );
  if (choices.subnets === 'auto' && found.network === undefined) {
    const free = freeSubnet(found.networks);
    await ask(`Subnet of the pods, or none [${free}]: `, (answer) => ({
      subnets: answer === 'none' ? 'none' : answer === '' ? [free] : wordsOf(answer),
    }));
  }
  return choices;
}

const wordsOf = (answer: string): string[] => answer.split(/\s+/u);

const isComplete = ({ files }: Plan): boolean => files.every(({ state }) => state === 'kept');

function show({ files, next }: Plan, { output }: Flags): void {
  print(output, { written: false, files, next }, formatPlan(files));
}

async function write(plan: Plan, { output, passphraseFile }: Flags): Promise<number> {
  const files = await writePlan(plan, processPassphrase(passphraseFile));
  print(output, { written: true, files, next: plan.next }, formatResult(files, plan.next));
  if (plan.bridges.length > 0) reportDropped(plan.bridges);
  return exitCodes.yes;
}

function unconfirmed(): PortcullisError {
  return new PortcullisError({
    code: 'CLI_SETUP_UNCONFIRMED',
    kind: 'invalid',
    attempted: 'prepare this machine',
    on: '',
    why: 'there is no terminal to ask on, and nothing was written',
    fix: 'give --yes to write these files, or --dry-run only to see them',
  });
}
