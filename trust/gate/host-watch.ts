import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';

/** Asks registries, and stops asking one that does not answer. */
export interface HostWatch {
  /**
   * Runs a question to a host.
   * @param missing returns why an answer is none, for questions that report a silent host in their answer
   * @throws the error of the question; PortcullisError `TRUST_GATE_HOST_SILENT`, without asking, after
   * several questions in a row had no answer
   */
  ask<T>(host: string, question: () => Promise<T>, missing?: (answer: T) => string | undefined): Promise<T>;
}

/** Each question to a dead host takes until its deadline, with its retries, and a run may have thousands. */
const patience = 3;

/** Creates the watch of one run. */
export function createHostWatch(): HostWatch {
  const silent = new Map<string, { readonly count: number; readonly why: string }>();
  const note = (host: string, why: string | undefined): void => {
    if (why === undefined) silent.delete(host);
    else silent.set(host, { count: (silent.get(host)?.count ?? 0) + 1, why });
  };
  return {
    async ask(host, question, missing = () => undefined) {
      const known = silent.get(host);
      if (known !== undefined && known.count >= patience)
        throw new PortcullisError({
          code: 'TRUST_GATE_HOST_SILENT',
          kind: 'unavailable',
          attempted: 'ask registry',
          on: host,
          why: `the last ${patience} requests to it had no answer: ${known.why}`,
          fix: 'repeat the run when the registry answers',
        });
      try {
        const answer = await question();
        note(host, missing(answer));
        return answer;
      } catch (error) {
        const gone = isPortcullisError(error) && (error.kind === 'unavailable' || error.kind === 'deadline');
        note(host, gone ? error.failure.why : undefined);
        throw error;
      }
    },
  };
}
