import { createInterface } from 'node:readline';
import { isPortcullisError, PortcullisError } from '../../base/errors/index.ts';
import { printNote } from '../output/output.ts';

/** Asks a user at the terminal. */
export interface Questions {
  /**
   * Asks until an answer, without surrounding white space, is accepted. Says why each other one is not.
   * Lines that were typed before that do not count: they belong to questions that come later.
   * @param accept throws a PortcullisError for a wrong answer
   * @throws PortcullisError CLI_SETUP_CANCELLED
   */
  ask<T>(question: string, accept: (answer: string) => Promise<T>): Promise<T>;
  /**
   * Returns whether the answer is yes. Lines that were typed before the question do not count: nobody had
   * seen it. @throws PortcullisError CLI_SETUP_CANCELLED
   */
  confirm(question: string): Promise<boolean>;
  close(): void;
}

/**
 * Opens the terminal for questions, which are written to standard error. One reader serves them all, so that
 * answers which arrive ahead of their questions are not lost.
 */
export function openQuestions(): Questions {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: true });
  const early: string[] = [];
  let waiting:
    | { readonly resolve: (line: string) => void; readonly reject: (error: Error) => void }
    | undefined;
  let isOpen = true;
  lines.on('line', (text) => {
    if (waiting === undefined) early.push(text);
    else waiting.resolve(text);
    waiting = undefined;
  });
  // End of input, or ^C.
  lines.on('SIGINT', () => lines.close());
  lines.on('close', () => {
    isOpen = false;
    waiting?.reject(cancelled());
  });
  const answer = async (question: string): Promise<string> => {
    const next = early.shift();
    if (next === undefined && !isOpen) throw cancelled();
    lines.setPrompt(question);
    lines.prompt();
    if (next !== undefined) return next.trim();
    return (await new Promise<string>((resolve, reject) => (waiting = { resolve, reject }))).trim();
  };
  return {
    async ask(question, accept) {
      for (;;) {
        const given = await answer(question);
        try {
          return await accept(given);
        } catch (error) {
          if (!isPortcullisError(error)) throw error;
          printNote(`${error.message}\n`);
          early.length = 0;
        }
      }
    },
    async confirm(question) {
      early.length = 0;
      return /^y(es)?$/iu.test(await answer(question));
    },
    close: () => lines.close(),
  };
}

function cancelled(): PortcullisError {
  return new PortcullisError({
    code: 'CLI_SETUP_CANCELLED',
    kind: 'cancelled',
    attempted: 'prepare this machine',
    on: '',
    why: 'a question was not answered',
    fix: 'run the command again, or give --yes and flags; nothing was written',
  });
}
