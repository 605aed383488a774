import { parseJson } from '../base/json/index.ts';
import { PortcullisError } from '../base/errors/index.ts';
import { explainVerdict, findVerdictRow, findVerdicts, loadPolicy, replayLogged } from '../trust/index.ts';
import type { LogSource } from '../trust/index.ts';
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
  if (flags.all === true) return replayAll(log, flags);
  const found = findVerdicts(log, {}, 2);
  const [only] = found;
  const logged =
    wanted === undefined && found.length === 1 && only !== undefined
      ? only
      : findVerdictRow(log, wanted ?? '');
  const { equal, recorded, replayed, recordedBytes, replayedBytes } = await replayLogged(log, logged, policy);
  const facts = {
    seq: logged.row.seq,
    verdict: recorded.id,
    equal,
    sameOutcome: recorded.outcome === replayed.outcome,
    recorded: parseJson(recordedBytes),
    replayed: parseJson(replayedBytes),
  };
  const text = equal
    ? `identical: ${recorded.outcome} ${printable(recorded.reference)}, verdict ${recorded.id}\n`
    : `different: recorded ${recorded.outcome} as ${recorded.id}, replayed ${replayed.outcome} as ${replayed.id}\n${tree(explainVerdict(replayed))}`;
  print(flags.output, facts, text);
  return equal ? exitCodes.yes : exitCodes.no;
}

async function replayAll(log: LogSource, flags: ReplayFlags): Promise<number> {
  const counts = { equal: 0, different: 0, incomplete: 0 };
  const different: string[] = [];
  for (const logged of findVerdicts(log, {})) {
    try {
      const { equal } = await replayLogged(log, logged);
      counts[equal ? 'equal' : 'different'] += 1;
      if (!equal) different.push(logged.entry.verdict);
    } catch (error) {
      if (!(error instanceof PortcullisError) || error.code !== 'TRUST_REPLAY_INCOMPLETE') throw error;
      counts.incomplete += 1;
    }
  }
  const lines = different.map((id) => `different: ${id}\n`).join('');
  print(
    flags.output,
    { ...counts, verdicts: different },
    `${lines}${counts.equal} identical, ${counts.different} different, ${counts.incomplete} cannot be replayed\n`,
  );
  return counts.different === 0 ? exitCodes.yes : exitCodes.no;
}
