import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Answer, Question } from './z3-child.ts';
import type { Session } from './z3-session.ts';

/** Z3 as an oracle that shares no code with the prover: program and policy as terms over bit vectors. */
export interface Oracle extends Session {
  close(): void;
}

const CHILD = fileURLToPath(new URL('z3-child.ts', import.meta.url));
/** Questions per child, whose memory is never freed before it ends. */
const QUESTIONS = 20;
/**
 * Z3's WebAssembly build loses a wake-up between its threads about once in a hundred sessions, and then waits
 * forever: its child is ended.
 */
const PATIENCE_MS = 30_000;
const ATTEMPTS = 3;

/**
 * Opens an oracle with a deadline for each question; a question that misses it is sent to another child,
 * three times in all.
 */
export function openOracle(patienceMs = PATIENCE_MS): Oracle {
  let asked = 0;
  let child: ChildProcess | undefined;
  const close = (): void => {
    child?.kill('SIGKILL');
    child = undefined;
  };
  return {
    async difference(...question) {
      if (++asked % QUESTIONS === 0) close();
      for (let attempt = 1; ; attempt += 1) {
        child ??= fork(CHILD, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
        const answer = await answerOf(child, question, patienceMs);
        if (answer !== undefined && 'model' in answer) return answer.model;
        close();
        if (attempt === ATTEMPTS)
          throw new Error(answer?.failed ?? `Z3 did not answer in ${patienceMs / 1000} s, ${ATTEMPTS} times`);
      }
    },
    close,
  };
}

/** Returns the child's answer; undefined when it does not answer in time, or ends. */
function answerOf(child: ChildProcess, question: Question, patienceMs: number): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const settle = (answer?: Answer): void => {
      clearTimeout(timer);
      child.off('message', onMessage).off('exit', onEnd).off('error', onEnd);
      resolve(answer);
    };
    const onMessage = (answer: unknown): void => settle(answer as Answer);
    const onEnd = (): void => settle();
    const timer = setTimeout(settle, patienceMs);
    child.on('message', onMessage).on('exit', onEnd).on('error', onEnd);
    child.send(question);
  });
}
