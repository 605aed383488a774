import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';

/** Asks registries, and stops asking one that does not answer. */
export interface HostWatch {
  /**
   * Runs a question to a host.
   * @throws the error of the question; PortcullisError `TRUST_GATE_HOST_SILENT`, without asking, after
   * several questions in a row had no answer
   */
  ask<T>(host: string, question: () => Promise<T>): Promise<T>;
}

/** Each question to a dead host takes until its deadline, with its retries, and a run may have thousands. */
const patience = 3;

/** Creates the watch of one run. */
export function createHostWatch(): HostWatch {
  const silent = new Map<string, { count: number; why: string }>();
  return {
    async ask(host, question) {
      const known = silent.get(host);
      if (known !== undefined && known.count >= patience)
        throw new PortcullisError({
          code: 'TRUST_GATE_HOST_SILENT',
          kind: 'unavailable',
          attempted: 'ask registry',
          on: host,
          why: `the last ${patience} questions to it had no answer: ${known.why}`,
          fix: 'repeat the run when the registry answers',
        });
      try {
        const answer = await question();
        silent.delete(host);
        return answer;
      } catch (error) {
        if (isPortcullisError(error) && (error.kind === 'unavailable' || error.kind === 'deadline'))
          silent.set(host, { count: (silent.get(host)?.count ?? 0) + 1, why: error.failure.why });
        else silent.delete(host);
        throw error;
      }
    },
  };
}
