import { Option } from 'commander';
import type { Command } from 'commander';
import {
  PortcullisError,
  asPortcullisError,
  errorToJson,
  isPortcullisError,
} from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { exitCodeOf } from './exit-codes.ts';
import type { Answers } from './exit-codes.ts';
import { printableLines, printableText } from './printable.ts';

export { exitCodes } from './exit-codes.ts';

export type OutputFormat = 'text' | 'json' | 'yaml';

/**
 * Adds `-o, --output text|json|yaml`, the option of every command.
 * @param more formats that only this command has
 */
export function withOutput(command: Command, more: readonly string[] = []): Command {
  return command
    .addOption(
      new Option('-o, --output <format>', 'how to print the result')
        .choices(['text', 'json', 'yaml', ...more])
        .default('text'),
    )
    .hook('preAction', async (_group, action) => {
      if (action.opts()['output'] === 'yaml') await loadYaml();
    });
}

let writeYaml: ((value: unknown) => string) | undefined;

/** The library is not loaded for other formats, because it delays the start. */
async function loadYaml(): Promise<void> {
  ({ writeYaml } = await import('../../base/schema/index.ts'));
}

/** Formats a value as JSON, or as YAML with the same fields. Ends with a newline. */
function serialise(format: Exclude<OutputFormat, 'text'>, value: unknown): string {
  const json = JSON.stringify(value, null, 2);
  if (format === 'json' || writeYaml === undefined) return `${escaped(json)}\n`;
  return writeYaml(parseJson(json));
}

/**
 * Escapes the characters of JSON that a terminal obeys and that JSON.stringify leaves: names come from
 * registries and pods. They occur only in strings, so the value is the same.
 */
function escaped(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/gu,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Formats one result of several that follow one another: a line of JSON, or a document of YAML. */
export function serialiseOneOfMany(format: Exclude<OutputFormat, 'text'>, value: unknown): string {
  return format === 'json' ? `${escaped(JSON.stringify(value))}\n` : `---\n${serialise(format, value)}`;
}

/** Adds `-q, --quiet` to a command that lists objects with ids. */
export function withQuiet(command: Command): Command {
  return command.addOption(
    new Option('-q, --quiet', 'print only the ids, one on each line').conflicts('output'),
  );
}

/** Prints the ids of a list for {@link withQuiet}. */
export function printIds(list: readonly { readonly id: string }[]): void {
  print('text', undefined, [...new Set(list.map(({ id }) => `${id}\n`))].join(''));
}

/**
 * Prints a result on standard output: the value as JSON or YAML, or its text, which ends with a newline.
 * Control sequences for the terminal are left out.
 */
export function print(format: OutputFormat, value: unknown, text: string): void {
  process.stdout.write(format === 'text' ? printableText(text) : serialise(format, value));
}

/** Prints text on standard error, which ends with a newline. Control sequences are left out. */
export function printNote(text: string): void {
  process.stderr.write(printableLines(text));
}

/**
 * Runs a command's action, which returns its exit code. A failure is printed on standard error, and sets the
 * exit code of its row in the table of exit codes.
 * @param answers failures that are the answer of this command to its question
 */
export async function run(
  format: OutputFormat,
  action: () => Promise<number>,
  answers?: Answers,
): Promise<void> {
  try {
    process.exitCode = await action();
  } catch (thrown) {
    await fail(format, thrown, answers);
  }
}

/** Prints a failure on standard error, and sets the exit code of its row in the table of exit codes. */
export async function fail(format: OutputFormat, thrown: unknown, answers?: Answers): Promise<void> {
  const error = asPortcullisError(await named(thrown), {
    code: 'CLI_FAILED',
    kind: 'internal',
    attempted: 'run the command',
    on: '',
    fix: 'report this',
  });
  if (format !== 'text') await printError(format, error);
  else printNote(`portcullis: ${withoutPrefix(error)}\n`);
  process.exitCode = exitCodeOf(error, answers);
}

/** A prefix is a word for a kubelet, and says nothing to a person. */
function withoutPrefix({ message, failure: { prefix } }: PortcullisError): string {
  return prefix === undefined ? message : message.slice(`${prefix}: `.length);
}

/** Prints an error on standard error, as JSON or YAML. */
export async function printError(
  format: Exclude<OutputFormat, 'text'>,
  error: PortcullisError,
): Promise<void> {
  if (format === 'yaml') await loadYaml();
  process.stderr.write(serialise(format, { error: errorToJson(error) }));
}

/**
 * Converts a file system error to an error that names the file and the system's reason: it is not a defect of
 * the command. The error of `process.cwd()` has no path.
 */
async function named(thrown: unknown): Promise<unknown> {
  if (!(thrown instanceof Error) || isPortcullisError(thrown)) return thrown;
  const { code, syscall, path } = thrown as NodeJS.ErrnoException;
  if (syscall === 'uv_cwd')
    return new PortcullisError({
      code: 'CLI_NO_WORKING_FOLDER',
      kind: 'precondition',
      attempted: 'run the command',
      on: '',
      why: code === 'ENOENT' ? 'the working folder was removed' : `the working folder is not known (${code})`,
      fix: 'change to a folder that exists, such as with `cd /`, and run the command again',
    });
  if (code === undefined || syscall === undefined || path === undefined) return thrown;
  // This loads the library that calls the kernel, so it happens only on a failure.
  const { kernelError } = await import('../../base/kernel/index.ts');
  return kernelError(code, syscall, path);
}
