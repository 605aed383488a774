import { execFile } from 'node:child_process';
import { dirname } from 'node:path';

export interface Problem {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  readonly message: string;
  readonly severity: 'error' | 'warning';
  /** The code of a finding of the lint. */
  readonly code?: string;
}

/** The command that checks a document, by its kind. */
const commands: Readonly<Record<string, readonly string[]>> = {
  TrustPolicy: ['policy', 'check'],
  EntitlementProfile: ['entitlements', 'check'],
};

const timeoutMs = 30_000;
const maxOutputBytes = 4 * 1024 * 1024;
const mostProblems = 1_000;

/** Returns the words of the command for a document, or undefined if it is not a document of Portcullis. */
export function commandFor(text: string): readonly string[] | undefined {
  if (!/^["']?apiVersion["']?:\s*["']?portcullis\.dev\//mu.test(text)) return undefined;
  const kind = /^["']?kind["']?:\s*["']?(\w+)/mu.exec(text)?.[1] ?? '';
  return commands[kind];
}

/**
 * Checks a file by the command `portcullis`, without a shell. The name of the file is one argument, whatever
 * characters it contains.
 * @param file absolute path
 * @returns problems of this file, in their order
 * @throws Error if the command cannot be run, does not answer within 30 s, or prints something else
 */
export function checkFile(
  program: string,
  words: readonly string[],
  file: string,
  signal: AbortSignal,
): Promise<readonly Problem[]> {
  // The folder of the editor's program. An editor that was started in a workspace has that folder as its own,
  // and a relative entry of PATH, or Windows, would find the program there.
  const cwd = dirname(process.execPath);
  const options = { signal, cwd, timeout: timeoutMs, maxBuffer: maxOutputBytes, windowsHide: true };
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      [...words, '--output', 'json', '--', file],
      options,
      (error, stdout, stderr) => {
        // Exit status 1 says that there are problems.
        if (error !== null && error.code !== 1) {
          reject(new Error(error.message, { cause: error }));
          return;
        }
        try {
          // The command prints an error as JSON on standard error.
          resolve(problemsOf(JSON.parse(stdout === '' ? stderr : stdout), file));
        } catch {
          reject(new Error(`${program} printed no JSON`));
        }
      },
    );
    child.stdin?.end();
  });
}

interface Found {
  readonly position?: { readonly file?: unknown; readonly line?: unknown; readonly column?: unknown };
  readonly message?: unknown;
  readonly fix?: unknown;
  readonly code?: unknown;
}

function problemsOf(output: unknown, file: string): readonly Problem[] {
  const { problems, findings, error } = (output ?? {}) as {
    readonly problems?: unknown;
    readonly findings?: unknown;
    readonly error?: { readonly details?: { readonly problems?: unknown } };
  };
  const list = (value: unknown): readonly Found[] => (Array.isArray(value) ? (value as Found[]) : []);
  const read = (found: Found, severity: Problem['severity']): Problem[] => {
    const { position, message, fix, code } = found;
    if (position?.file !== file || typeof position.line !== 'number' || typeof position.column !== 'number')
      return [];
    return [
      {
        line: position.line,
        column: position.column,
        message: `${String(message)}${typeof fix === 'string' ? `; ${fix}` : ''}`,
        severity,
        ...(typeof code === 'string' ? { code } : {}),
      },
    ];
  };
  return [
    ...list(problems ?? error?.details?.problems).flatMap((one) => read(one, 'error')),
    ...list(findings).flatMap((one) => read(one, 'warning')),
  ].slice(0, mostProblems);
}
