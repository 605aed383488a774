import { isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { closest } from '../../base/lists/index.ts';
import type { Command } from 'commander';
import { CATALOG, describeProfile, exactProfile, writeExactProfile } from '../../entitlements/index.ts';
import type { Entitlement } from '../../entitlements/index.ts';
import { exitCodes, print, run, withOutput } from '../output/output.ts';
import type { OutputFormat } from '../output/output.ts';
import { table } from '../output/table.ts';
import { operand, withOperands } from './operands.ts';
import type { OperandFlags } from './operands.ts';
import { withWide } from '../output/terminal.ts';

interface ListFlags {
  readonly output: OutputFormat;
}

export function registerCatalog(entitlements: Command): void {
  withOutput(
    withWide(entitlements.command('list')).description('list the entitlements that profiles are written in'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis entitlements list\n  $ portcullis entitlements list --output json | jq -r ".[].name"',
    )
    .action((flags: ListFlags) => run(flags.output, () => Promise.resolve(list(flags))));
  withOperands(
    withOutput(
      entitlements
        .command('show')
        .description('show an entitlement of the catalog, or a profile in full')
        .argument('<name>', 'entitlement or profile'),
    ),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis entitlements show network.proxy      what it grants and excludes, for each mechanism\n  $ portcullis entitlements show baseline           every dimension, as a document of kind ExactProfile\n\nExit status: 0 shown; 2 no such entitlement or profile.',
    )
    .action((name: string, flags: OperandFlags & ListFlags) => run(flags.output, () => show(name, flags)));
}

function list(flags: ListFlags): number {
  const all = [...CATALOG.values()];
  print(
    flags.output,
    all.map(plain),
    table(
      ['NAME', 'RISK', 'TITLE'],
      all.map(({ name, risk, title, argument }) => [
        argument === undefined ? name : `${name}=${argument.example}`,
        risk,
        title,
      ]),
    ),
  );
  return exitCodes.yes;
}

async function show(name: string, flags: OperandFlags & ListFlags): Promise<number> {
  const entitlement = CATALOG.get(name.replace(/=.*$/, ''));
  if (entitlement !== undefined) {
    print(flags.output, plain(entitlement), describe(entitlement));
    return exitCodes.yes;
  }
  let found: Awaited<ReturnType<typeof operand>>;
  try {
    found = await operand(name, flags);
  } catch (thrown) {
    const better = near(thrown, name);
    if (better === undefined) throw thrown;
    throw better;
  }
  const called = /^[a-z0-9][a-z0-9.-]*$/.test(found.label) ? found.label : 'profile';
  print(
    flags.output,
    exactProfile(called, found.profile),
    `${describeProfile(found.label, found.profile).replaceAll(/^/gm, '# ').replace(/# $/, '')}${writeExactProfile(called, found.profile)}`,
  );
  return exitCodes.yes;
}

/** Returns the error about an unknown name with the entitlement that was probably meant, if one is close. */
function near(thrown: unknown, name: string): PortcullisError | undefined {
  const meant = closest(name, [...CATALOG.keys()]);
  if (meant === undefined || !isPortcullisError(thrown) || thrown.code !== 'ENTITLEMENTS_UNKNOWN_PROFILE')
    return undefined;
  return new PortcullisError({
    ...thrown.failure,
    fix: `did you mean ${meant}? portcullis entitlements list shows every entitlement`,
  });
}

function plain({ argument, ...entitlement }: Entitlement): unknown {
  const { name, title, risk, network, grants, excludes = {}, rules } = entitlement;
  const value = {
    name,
    title,
    risk,
    network,
    argument: argument?.form,
    example: argument?.example,
    grants,
    excludes,
    rules,
  };
  return parseJson(
    JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? part.toString() : part)),
  );
}

function describe(entitlement: Entitlement): string {
  const { name, title, risk, network, grants, excludes = {}, rules, argument } = entitlement;
  const part = (label: string, value: object | undefined): string =>
    Object.entries(value ?? {})
      .map(
        ([key, of]) =>
          `${label.padEnd(9)} ${key}: ${JSON.stringify(of, (_key, inner: unknown) => (typeof inner === 'bigint' ? inner.toString() : inner))}\n`,
      )
      .join('');
  return [
    `${name}${argument === undefined ? '' : `=${argument.form}`}\n${title}\nrisk      ${risk}\n`,
    network === undefined ? '' : `network   class ${network}\n`,
    part('grants', grants),
    part('excludes', excludes),
    part('rules', rules),
    argument === undefined ? '' : `example   ${name}=${argument.example}\n`,
  ].join('');
}
