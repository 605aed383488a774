import type { CommandStreams } from './command-streams.ts';
import type { Outcome } from './outcome.ts';
import type { AttachPlan, ExecPlan, SessionResult } from './plan.ts';

/** Runs the command of an exec, or attaches to a container, until its end or that of the client. */
export type RunCommand = (plan: ExecPlan | AttachPlan, streams: CommandStreams) => Promise<Outcome>;

/** Serves one client of a command, and sends it the outcome. Returns what the log says about the session. */
export async function serveCommand(
  run: RunCommand,
  plan: ExecPlan | AttachPlan,
  streams: CommandStreams,
  protocol: string,
): Promise<SessionResult> {
  const outcome = await run(plan, streams);
  const gone = streams.gone.aborted;
  if (!gone) await streams.finish(outcome);
  const said =
    outcome.kind === 'exit' ? `exit ${outcome.code}` : outcome.kind === 'failure' ? outcome.why : 'success';
  return { protocol, outcome: gone ? 'the client went' : said };
}
