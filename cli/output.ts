import { Option } from 'commander';
import type { Command } from 'commander';
import { asPortcullisError, errorToJson, isPortcullisError } from '../base/errors/index.ts';
import type { PortcullisError } from '../base/errors/index.ts';
import { printableText } from './printable.ts';

export type OutputFormat = 'text' | 'json';

/** Exit codes of commands (design: the command). */
export const exitCodes = { yes: 0, no: 1, usage: 2, undecided: 3, failed: 4 } as const;

/** Adds `--output text|json`, the option of every command. */
export function withOutput(command: Command): Command {
  return command.addOption(new Option('--output <format>', 'how to print the result').choices(['text', 'json']).default('text'));
}

/**
 * Prints a result on standard output: the value as JSON, or its text, which ends with a newline. Control
 * sequences for the terminal are left out.
 */
export function print(format: OutputFormat, value: unknown, text: string): void {
  process.stdout.write(format === 'json' ? `${JSON.stringify(value, null, 2)}\n` : printableText(text));
}

/**
 * Runs a command's action, which returns its exit code. A failure is printed on standard error. It sets the
 * exit code that `codeOf` returns, else 2 for wrong input and 4 for anything else.
 */
export async function run(
  format: OutputFormat,
  action: () => Promise<number>,
  codeOf: (error: PortcullisError) => number | undefined = () => undefined,
): Promise<void> {
  try {
    process.exitCode = await action();
  } catch (thrown) {
    const error = asPortcullisError(await named(thrown), {
      code: 'CLI_FAILED',
      kind: 'internal',
      attempted: 'run the command',
      on: '',
      fix: 'report this',
    });
    process.stderr.write(
      format === 'json' ? `${JSON.stringify({ error: errorToJson(error) }, null, 2)}\n` : printableText(`portcullis: ${error.message}\n`),
    );
    process.exitCode = codeOf(error) ?? (error.kind === 'invalid' ? exitCodes.usage : exitCodes.failed);
  }
}

/**
 * Converts a file system error to an error that names the file and the system's reason: it is not a defect of
 * the command.
 */
async function named(thrown: unknown): Promise<unknown> {
  if (!(thrown instanceof Error) || isPortcullisError(thrown)) return thrown;
  const { code, syscall, path } = thrown as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined || path === undefined) return thrown;
  // This loads the library that calls the kernel, so it happens only on a failure.
  const { kernelError } = await import('../base/kernel/index.ts');
  return kernelError(code, syscall, path);
}
