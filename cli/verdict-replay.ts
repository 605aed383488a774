import { parseJson } from '../base/json/index.ts';
import { PortcullisError } from '../base/errors/index.ts';
import { explainVerdict, loadPolicy } from '../trust/index.ts';
import type { TrustPolicy } from '../trust/index.ts';
import {
  droppedThrough,
  eachVerdict,
  findVerdictRow,
  findVerdicts,
  replayLogged,
} from '../trust/verdict-log/index.ts';
import type { LogSource, LoggedVerdict } from '../trust/verdict-log/index.ts';
import { printable } from './output/printable.ts';
import { exitCodes, print } from './output/output.ts';
import { tree } from './output/terminal.ts';
import type { LogFlags } from './verdict-log-source.ts';

export interface ReplayFlags extends LogFlags {
  readonly all?: boolean;
  readonly policy?: readonly string[];
}

export async function replay(
  log: LogSource,
  wanted: string | undefined,
  flags: ReplayFlags,
): Promise<number> {
  const policy = flags.policy === undefined ? undefined : (await loadPolicy({ paths: flags.policy })).policy;
  if (flags.all === true) return replayAll(log, flags, policy);
  const logged = wanted === undefined ? onlyVerdict(log, flags.file ?? '') : findVerdictRow(log, wanted);
  const { equal, sameDecision, recorded, replayed, recordedBytes, replayedBytes } = await replayLogged(
    log,
    logged,
    policy,
  );
  const facts = {
    seq: logged.row.seq,
    verdict: recorded.id,
    equal,
    sameDecision,
    sameOutcome: recorded.outcome === replayed.outcome,
    recorded: parseJson(recordedBytes),
    replayed: parseJson(replayedBytes),
  };
  const text = equal
    ? `identical: ${recorded.outcome} ${printable(recorded.reference)}, verdict ${recorded.id}\n`
    : `${sameDecision ? 'the same decision in other words' : 'different'}: recorded ${recorded.outcome} as ${recorded.id}, replayed ${replayed.outcome} as ${replayed.id}\n${tree(explainVerdict(replayed))}`;
  print(flags.output, facts, text);
  return equal ? exitCodes.yes : exitCodes.no;
}

function onlyVerdict(log: LogSource, file: string): LoggedVerdict {
  const [first, second] = findVerdicts(log, {}, 2);
  if (first !== undefined && second === undefined) return first;
  throw new PortcullisError({
    code: first === undefined ? 'TRUST_VERDICT_UNKNOWN' : 'TRUST_VERDICT_AMBIGUOUS',
    kind: 'not-found',
    attempted: 'find verdict',
    on: file,
    why: first === undefined ? 'the file contains no verdict' : 'the file contains more than one verdict',
    fix: first === undefined ? 'export one: portcullis verdicts export ID' : 'name a verdict, or use --all',
  });
}

/** Fails if a verdict's texts are missing, unless the log says that the retention has dropped them. */
async function replayAll(
  log: LogSource,
  flags: ReplayFlags,
  policy: TrustPolicy | undefined,
): Promise<number> {
  const counts = { equal: 0, reworded: 0, different: 0, incomplete: 0, dropped: 0 };
  const different: string[] = [];
  const through = droppedThrough(log);
  for (const logged of eachVerdict(log)) {
    try {
      const { equal, sameDecision } = await replayLogged(log, logged, policy);
      counts[equal ? 'equal' : sameDecision ? 'reworded' : 'different'] += 1;
      if (!sameDecision) different.push(logged.entry.verdict);
    } catch (error) {
      if (!(error instanceof PortcullisError) || error.code !== 'TRUST_REPLAY_INCOMPLETE') throw error;
      counts[logged.row.seq <= through ? 'dropped' : 'incomplete'] += 1;
    }
  }
  const lines = different.map((id) => `different: ${id}\n`).join('');
  const reworded = counts.reworded === 0 ? '' : ` ${counts.reworded} with the same decision in other words,`;
  const dropped = counts.dropped === 0 ? '' : `, ${counts.dropped} dropped by the retention`;
  print(
    flags.output,
    { ...counts, verdicts: different },
    `${lines}${counts.equal} identical,${reworded} ${counts.different} different, ${counts.incomplete} cannot be replayed${dropped}\n`,
  );
  if (counts.different + counts.reworded > 0) return exitCodes.no;
  return counts.incomplete > 0 ? exitCodes.failed : exitCodes.yes;
}
