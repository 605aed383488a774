import type { Command } from 'commander';
import {
  describeExplained,
  describeJudgements,
  describeProfile,
  entitlementsGiving,
  exactProfile,
  explainAttacks,
  explainQuestion,
  questionGrammar,
} from '../../entitlements/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { collect } from '../options/registry-options.ts';
import { collectCapability, operand, operandHelp, withOperands } from './operands.ts';
import type { OperandFlags } from './operands.ts';

interface Flags extends OperandFlags {
  readonly output: OutputFormat;
  readonly why: readonly string[];
  readonly can: readonly string[];
  readonly which: readonly string[];
  readonly cve?: readonly string[] | true;
}

const examples = `${operandHelp}

Questions of --can and --why:
${questionGrammar}

Answers are exact: "no" holds for every program under the profile, and "yes" comes with a witness. The
deciding rule is named with its file and line. --cve checks whether the profile allows what known attacks
need: the attacks with these IDs, or all. It does not check whether the kernel is vulnerable.

Examples:
  $ portcullis entitlements explain web.yaml                             the whole profile in words
  $ portcullis entitlements explain web.yaml --why openat2
  $ portcullis entitlements explain default --can 'socket(AF_ALG)' --can 'write /etc/passwd' --can mount
  $ portcullis entitlements explain web.yaml --can 'connect tcp 10.0.0.1:53'
  $ portcullis entitlements explain web.yaml --which CAP_NET_ADMIN       what grants it, here and in the catalog
  $ portcullis entitlements explain /etc/docker/seccomp.json --cve CVE-2026-31431

Exit status: 0 every answer is yes (--cve: no attack is within reach); 1 an answer is no (--cve: an attack
is within reach); 2 wrong use; 4 failed.`;

export function registerExplain(entitlements: Command): void {
  withOperands(
    withOutput(
      entitlements
        .command('explain')
        .description(
          'describe in plain words what a profile allows a program to do, and answer questions about it',
        )
        .argument('<profile>', 'profile')
        .option('--can <question>', 'may a program do this? may be repeated', collect, [])
        .option(
          '--why <question>',
          'may a program make this system call, and why? may be repeated',
          collect,
          [],
        )
        .option('--which <capability>', 'what grants this capability? may be repeated', collectCapability, [])
        .option('--cve [id...]', 'does the profile allow known attacks?'),
    ),
  )
    .addHelpText('after', examples)
    .action((profile: string, flags: Flags) => run(flags.output, () => explain(profile, flags)));
}

async function explain(text: string, flags: Flags): Promise<number> {
  const found = await operand(text, flags);
  const asked = [
    ...flags.why,
    ...flags.can,
    ...flags.which.map((name) => (/^cap_/i.test(name) ? name : `CAP_${name}`)),
  ];
  const answers = asked.map((question) => explainQuestion(found, question));
  const attacks =
    flags.cve === undefined ? undefined : explainAttacks(found, flags.cve === true ? [] : flags.cve);
  const catalog = Object.fromEntries(flags.which.map((name) => [name, entitlementsGiving(name) ?? []]));
  const whole = asked.length === 0 && attacks === undefined;
  print(
    flags.output,
    {
      profile: found.label,
      ...(whole ? { exact: exactProfile(found.label, found.profile) } : {}),
      ...(asked.length === 0 ? {} : { answers }),
      ...(flags.which.length === 0 ? {} : { catalog }),
      ...(attacks === undefined ? {} : { attacks }),
      ...(found.unmapped.length === 0 ? {} : { unmapped: found.unmapped }),
    },
    [
      ...(whole ? [describeProfile(found.label, found.profile)] : []),
      ...answers.map(describeExplained),
      ...(attacks === undefined ? [] : [describeJudgements(attacks, found.label)]),
    ].join(''),
  );
  const reached = attacks?.some(({ verdict }) => verdict === 'within reach') === true;
  return reached || answers.some(({ yes }) => !yes) ? exitCodes.no : exitCodes.yes;
}
