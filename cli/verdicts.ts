import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { dirname, join } from 'node:path';
import { parseJson } from '../base/json/index.ts';
import { PortcullisError } from '../base/errors/index.ts';
import { explainVerdict } from '../trust/index.ts';
import type { Verdict } from '../trust/index.ts';
import {
  exportHead,
  exportLog,
  findVerdictRow,
  findVerdicts,
  parseNoteKey,
  verifyLog,
} from '../trust/verdict-log/index.ts';
import type {
  LogSource,
  LogVerification,
  LoggedVerdict,
  NoteKey,
  VerdictFilter,
} from '../trust/verdict-log/index.ts';
import { writeNewFile } from './files/output-file.ts';
import { printable } from './output/printable.ts';
import { logAnswers } from './output/exit-codes.ts';
import { exitCodes, print, run } from './output/output.ts';
import { mayBeEmpty } from './options/refuse-empty.ts';
import { collect } from './options/registry-options.ts';
import { withSince } from './options/since-option.ts';
import { shortId, table } from './output/table.ts';
import { tree, withWide } from './output/terminal.ts';
import { replay } from './verdict-replay.ts';
import type { ReplayFlags } from './verdict-replay.ts';
import { withLog, withSource, readText } from './verdict-log-source.ts';
import type { LogFlags } from './verdict-log-source.ts';

interface ListFlags extends LogFlags, Omit<VerdictFilter, 'seq' | 'id'> {
  readonly limit: number;
}

/**
 * `portcullis verdicts`: the verdict log. Reads it from the database file, whether or not a daemon runs, or
 * from an exported file.
 */
export function register(program: Command): void {
  const verdicts = program
    .command('verdicts')
    .description('the verdict log: list, show, replay, verify, export');
  withSince(withLog(withWide(verdicts.command('ls')).description('list verdicts, newest first')), 'verdicts')
    .option('--image <text>', 'only those whose reference or digest contains this')
    .addOption(
      mayBeEmpty(new Option('--namespace <name>', "only those for this namespace; '' for those without one")),
    )
    .addOption(
      new Option('--outcome <outcome>', 'only those with this outcome').choices([
        'admit',
        'deny',
        'undecided',
      ]),
    )
    .option('--limit <count>', 'maximum number', count, 100)
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis verdicts ls --outcome deny --since 24h\n  $ portcullis verdicts ls --namespace pay --image registry.example.com/shop --output json',
    )
    .action((flags: ListFlags) =>
      run(flags.output, () => withSource(flags, (log) => Promise.resolve(list(log, flags)))),
    );
  withLog(
    withWide(verdicts.command('show'))
      .description('show a verdict with the whole tree of its reasons')
      .argument('<verdict>', 'id, abbreviated id, or row number'),
  )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis verdicts show 4f2a9c11d0e7\n  $ portcullis verdicts show 118 --output json',
    )
    .action((wanted: string, flags: LogFlags) =>
      run(flags.output, () => withSource(flags, (log) => Promise.resolve(show(log, wanted, flags)))),
    );
  withLog(
    withWide(verdicts.command('replay'))
      .description('decide again from the stored evidence, offline, and compare byte for byte')
      .argument('[verdict]', 'id, abbreviated id, or row number; default: the only verdict of the file'),
  )
    .option('--all', 'every verdict of the log, except those that the retention has dropped')
    .option(
      '--policy <path>',
      'policy for a verdict recorded by a version that stored no policy; may be repeated',
      collect,
    )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis verdicts replay 4f2a9c11d0e7\n  $ portcullis verdicts replay --file verdict.jsonl       on another machine\n  $ portcullis verdicts replay --all\n\nExit status: 0 identical; 1 different; 4 it cannot be replayed.',
    )
    .action((wanted: string | undefined, flags: ReplayFlags, command: Command) => {
      if (flags.all !== true && wanted === undefined && flags.file === undefined)
        command.error('error: name a verdict, --file FILE or --all', { exitCode: exitCodes.usage });
      return run(flags.output, () => withSource(flags, (log) => replay(log, wanted, flags)));
    });
  withLog(
    verdicts
      .command('verify')
      .description(
        'check the hash chain from its first row, the checkpoints, and heads that were exported earlier',
      ),
  )
    .option(
      '--head <file>',
      'an earlier exported head that the log must still contain; may be repeated',
      collect,
    )
    .option(
      '--key <file-or-key>',
      "the node's public key, or a file with it; without it, the keys that the log itself names are trusted; may be repeated",
      collect,
    )
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis verdicts verify\n  $ portcullis verdicts verify --head 2026-11-20.head --key node7.pub\n  $ portcullis verdicts verify --file log.jsonl --key node7.pub\n\nExit status: 0 intact; 1 not intact; 4 there is no log to check.',
    )
    .action((flags: VerifyFlags) =>
      run(
        flags.output,
        () => verify(flags),
        // A damaged log is a finding (not intact), not a failure of the command.
        logAnswers,
      ),
    );
  withLog(
    verdicts
      .command('export')
      .description('write the log, one verdict with everything a replay needs, or the signed head')
      .argument('[verdict]', 'only this verdict'),
  )
    .option('--head', 'only the signed head, for a later `verify --head`')
    .option('--out <file>', 'file to write instead of standard output; it must not exist')
    .addHelpText(
      'after',
      '\nExamples:\n  $ portcullis verdicts export --head --out 2026-11-20.head\n  $ portcullis verdicts export 4f2a9c11d0e7 --out verdict.jsonl\n  $ portcullis verdicts export --out log.jsonl',
    )
    .action((wanted: string | undefined, flags: ExportFlags) =>
      run(flags.output, () => withSource(flags, (log) => exportTo(log, wanted, flags))),
    );
}

interface VerifyFlags extends LogFlags {
  readonly head?: readonly string[];
  readonly key?: readonly string[];
}

interface ExportFlags extends LogFlags {
  readonly head?: boolean;
  readonly out?: string;
}

function count(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a number above 0.');
  return Number(text);
}

function list(log: LogSource, flags: ListFlags): number {
  const { image, namespace, outcome, since: from, limit } = flags;
  const filter = {
    ...(image !== undefined && { image }),
    ...(namespace !== undefined && { namespace }),
    ...(outcome !== undefined && { outcome }),
    ...(from !== undefined && { since: from }),
  };
  const found = findVerdicts(log, filter, limit);
  const rows = found.map(({ row, entry }) => [
    String(row.seq),
    entry.time,
    entry.outcome,
    shortId(entry.verdict),
    printable(entry.namespace),
    printable(entry.reference),
  ]);
  print(
    flags.output,
    found.map(({ row, entry }) => ({ seq: row.seq, ...entry })),
    table(['ROW', 'TIME', 'OUTCOME', 'VERDICT', 'NAMESPACE', 'IMAGE'], rows),
  );
  return exitCodes.yes;
}

function show(log: LogSource, wanted: string, flags: LogFlags): number {
  const { row, entry } = findVerdictRow(log, wanted);
  const text = log.text('verdict', entry.verdict);
  const verdict = text === undefined ? undefined : verdictOf(text, entry);
  const lines = [
    `row      ${row.seq}, ${entry.time}`,
    `hash     ${row.hash}`,
    `verdict  ${entry.verdict}`,
    `decided  ${entry.decidedAt}`,
    `dossier  ${entry.dossier}`,
  ];
  const reasons =
    verdict === undefined
      ? `${entry.outcome} ${printable(entry.reference)}: the configured retention has dropped the reasons\n`
      : tree(explainVerdict(verdict));
  print(
    flags.output,
    {
      row: { seq: row.seq, hash: row.hash, evidence: row.evidence },
      entry,
      ...(verdict !== undefined && { verdict }),
    },
    `${reasons}${lines.map((line) => `  ${line}\n`).join('')}`,
  );
  return exitCodes.yes;
}

function verdictOf(text: string, { verdict: id, decidedAt }: LoggedVerdict['entry']): Verdict {
  try {
    return { ...(parseJson(text) as Omit<Verdict, 'id' | 'decidedAt'>), decidedAt, id };
  } catch {
    throw new PortcullisError({
      code: 'TRUST_LOG_DAMAGED',
      kind: 'data-loss',
      attempted: 'read verdict',
      on: id,
      why: 'its text is not JSON',
      fix: 'see what is wrong: portcullis verdicts verify',
    });
  }
}

async function verify(flags: VerifyFlags): Promise<number> {
  const heads = await Promise.all((flags.head ?? []).map((file) => readText(file, 'read exported head')));
  const keys = flags.key === undefined ? undefined : await Promise.all(flags.key.map(readKey));
  const result = await withSource(flags, (log) =>
    Promise.resolve(verifyLog(log, { heads, ...(keys !== undefined && { keys }) })),
  );
  print(flags.output, result, describe(result, heads.length));
  return result.ok ? exitCodes.yes : exitCodes.no;
}

async function readKey(given: string): Promise<NoteKey> {
  const key = parseNoteKey(given) ?? parseNoteKey(await readText(given, 'read public key of a node'));
  if (key !== undefined) return key;
  throw new PortcullisError({
    code: 'TRUST_NOTE_KEY_UNREADABLE',
    kind: 'invalid',
    attempted: 'read public key of a node',
    on: given,
    why: 'it is not a line NAME+ID+BASE64 with an Ed25519 key',
    fix: 'give verdict-log.key.pub of the node',
  });
}

function describe(result: LogVerification, heads: number): string {
  const { rows, head, checkpoints, unsigned, dropped, unknown, problems, problemCount, ok } = result;
  const more = problemCount > problems.length ? `… and ${problemCount - problems.length} more\n` : '';
  const found = problems.map(({ code, text }) => `${printable(text)} [${code}]\n`).join('');
  const facts = [
    `${rows} ${rows === 1 ? 'row' : 'rows'}, head ${head.hash}`,
    `${checkpoints} ${checkpoints === 1 ? 'checkpoint' : 'checkpoints'}; rows after the last one: ${unsigned}`,
    ...(dropped > 0
      ? [`${dropped} rows without their texts, which the configured retention has dropped`]
      : []),
    ...(unknown > 0
      ? [`${unknown} rows of kinds that this version does not know, whose content is not judged`]
      : []),
    ...(heads > 0
      ? [`${heads} exported head${heads === 1 ? '' : 's'} compared`]
      : [
          'no exported head was given: if the end of the log was cut off together with its checkpoints, this is not detected',
        ]),
  ];
  return `${found}${more}${ok ? 'intact' : `NOT INTACT: ${problemCount} problem${problemCount === 1 ? '' : 's'}`}\n${facts.map((fact) => `  ${fact}\n`).join('')}`;
}

async function exportTo(log: LogSource, wanted: string | undefined, flags: ExportFlags): Promise<number> {
  const lines =
    flags.head === true
      ? [await currentHead(log, flags)]
      : exportLog(log, wanted === undefined ? undefined : findVerdictRow(log, wanted).row.seq);
  if (flags.out === undefined) for (const line of lines) process.stdout.write(line);
  else {
    await writeNewFile(flags.out, lines, { mode: 0o600 });
    print(flags.output, { written: flags.out }, `wrote ${flags.out}\n`);
  }
  return exitCodes.yes;
}

async function currentHead(log: LogSource, { root, database, file }: LogFlags): Promise<string> {
  // The key of an exported log is stored elsewhere.
  const folder = database === undefined ? root : dirname(database);
  const { note, behind } = await exportHead(
    log,
    file === undefined ? join(folder, 'verdict-log.key') : '',
    new Date(),
  );
  if (behind > 0)
    process.stderr.write(
      `${behind} rows came after the latest checkpoint, and this head does not include them: the key of the node cannot be read here\n`,
    );
  return note;
}
