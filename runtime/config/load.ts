import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { PortcullisError, fileReason } from '../../base/errors/index.ts';
import { isOwnDescriptor, mayAllWrite, readGivenFile, readGivenFileSync } from '../../base/files/index.ts';
import { append } from '../../base/lists/index.ts';
import { formatProblems, parseDocuments, textOf, validate } from '../../base/schema/index.ts';
import type { Document } from '../../base/schema/index.ts';
import { checkConsistency } from './consistency.ts';
import { withDefaults } from './defaults.ts';
import { applyFlags } from './flags.ts';
import type { FlagValues } from './flags.ts';
import { absolutePaths, pathFrom, pathProblems } from './paths.ts';
import { configSchema, defaultConfigFile } from './schema.ts';
import type { DaemonConfig } from './types.ts';

export interface LoadConfigInput {
  /** Default: /etc/portcullis/config.yaml, which does not have to exist. A file that is given must exist. */
  readonly file?: string;
  /** Whether a file that is given may be missing, like the default file. */
  readonly mayBeMissing?: boolean;
  readonly flags?: FlagValues;
  /**
   * Reads the file without a thread, so that the process can still move into another mount namespace as a
   * whole. Only for the start of a process: the main thread waits for the disk.
   */
  readonly withoutThreads?: boolean;
  /** The folder that relative paths of flags are relative to. Default: the working folder. */
  readonly workingFolder?: string;
}

/**
 * Returns the effective configuration: flags over file over defaults.
 * Throws CONFIG_INVALID with every problem, one per line, as file:line:column or by flag; `details.problems`
 * is the list.
 */
export async function loadDaemonConfig(input: LoadConfigInput = {}): Promise<DaemonConfig> {
  const workingFolder = input.workingFolder ?? process.cwd();
  const file = resolve(workingFolder, input.file ?? defaultConfigFile);
  const problems: string[] = [];
  const mustExist = input.file !== undefined && input.mayBeMissing !== true;
  const files =
    input.withoutThreads === true
      ? { read: readGivenFileSync, stat: statSync }
      : { read: readGivenFile, stat };
  const written = await readDocument(file, files, mustExist, problems);
  const complete = withDefaults(configSchema, absolutePaths(configSchema, written, dirname(file)));
  const flagged = applyFlags(complete, input.flags ?? {}, (path) => pathFrom(workingFolder, path));
  append(problems, [...flagged.problems, ...checkFlagged(flagged.value)]);
  append(problems, severalPolicies(written, input.flags ?? {}));
  const config = flagged.value as unknown as DaemonConfig;
  if (problems.length === 0) append(problems, pathProblems(configSchema, config));
  if (problems.length === 0) append(problems, checkConsistency(config));
  if (problems.length > 0) {
    throw new PortcullisError({
      code: 'CONFIG_INVALID',
      kind: 'invalid',
      attempted: 'load configuration',
      on: file,
      why:
        problems.length === 1
          ? String(problems[0])
          : `${problems.length} problems:\n  ${problems.join('\n  ')}\n`,
      fix: 'correct each problem; docs/configuration.md lists every option',
      details: { problems },
    });
  }
  return config;
}

/** A node has one policy: the objects of its cluster, the signed releases, or its own files. */
function severalPolicies(written: Readonly<Record<string, unknown>>, flags: FlagValues): string[] {
  const { policy, policySubscription, cluster } = written;
  const named: string[] = [];
  if ((cluster as { readonly policies?: unknown } | null | undefined)?.policies === true)
    named.push('cluster.policies');
  if (policySubscription !== undefined) named.push('policySubscription');
  if ((flags['--policy'] ?? []).length > 0) named.push('--policy');
  else if (policy !== undefined) named.push('policy');
  const [first, ...others] = named;
  return others.map(
    (other) => `${first}: ${other} is also set, and a node has only one policy; remove one of them`,
  );
}

/** More than any configuration has. */
const mostBytes = 4 * 2 ** 20;

interface FileReader {
  readonly read: (path: string, limit: number) => Buffer | Promise<Buffer>;
  readonly stat: (path: string) => Stats | Promise<Stats>;
}

async function readDocument(
  file: string,
  files: FileReader,
  mustExist: boolean,
  problems: string[],
): Promise<Record<string, unknown>> {
  let bytes: Buffer;
  try {
    bytes = await files.read(file, mostBytes);
    // The daemon runs the programs that the file names as root. A pipe belongs to whoever started it.
    const isFile = process.geteuid?.() === 0 && !isOwnDescriptor(file);
    if (isFile && mayAllWrite(await files.stat(file)))
      problems.push(`${file}: every user may write to it; chmod 0644`);
  } catch (thrown) {
    if (mustExist || (thrown as NodeJS.ErrnoException).code !== 'ENOENT')
      problems.push(`${file}: cannot be read: ${fileReason(thrown, file)}`);
    return {};
  }
  const content = textOf(file, bytes);
  if (!('text' in content)) {
    append(problems, lines([content]));
    return {};
  }
  const parsed = parseDocuments(content.text, file);
  const [document, second] = parsed.documents;
  const found = [...parsed.problems];
  if (second !== undefined) {
    found.push({
      position: second.positionOf([]),
      path: '',
      message: 'a second document',
      fix: 'keep one document in the file',
    });
  }
  if (document === undefined || document.value === null) {
    append(problems, lines(found));
    return {};
  }
  append(found, validate(document, configSchema));
  append(problems, lines(found));
  return found.length === 0 ? (document.value as Record<string, unknown>) : {};
}

function lines(found: Parameters<typeof formatProblems>[0]): string[] {
  return found.length === 0 ? [] : formatProblems(found).split('\n');
}

/** Checks flags by the same schema. Their problems have no position in a file. */
function checkFlagged(value: Record<string, unknown>): string[] {
  const nowhere = { file: 'flags', line: 0, column: 0 };
  const document: Document = { value, file: 'flags', positionOf: () => nowhere };
  return validate(document, configSchema).map(
    ({ path, message, fix }) => `flags: ${path}: ${message}${fix === undefined ? '' : `; ${fix}`}`,
  );
}
