import { PortcullisError } from '../../base/errors/index.ts';
import { describeProblems } from '../../base/schema/index.ts';
import type { Problem } from '../../base/schema/index.ts';
import { readInputFile, readStandardInput } from '../files/input-file.ts';

/** A state is a megabyte at most. The reader reports what is larger, with its place. */
const mostBytes = 4 * 1024 * 1024;

/**
 * Reads the document of a file, or of standard input.
 * @throws CLI_FILE_UNREADABLE · NODE_STATE_INVALID with every problem and its position
 */
export async function readNodeDocument<Value>(
  file: string,
  read: (
    text: string,
    file: string,
  ) => Promise<{ readonly value: Value } | { readonly problems: readonly Problem[] }>,
): Promise<Value> {
  const bytes = file === '-' ? await readStandardInput(mostBytes) : await readInputFile(file, mostBytes);
  const found = await read(bytes.toString(), file);
  if ('value' in found) return found.value;
  throw new PortcullisError({
    code: 'NODE_STATE_INVALID',
    kind: 'invalid',
    attempted: 'read the document',
    on: file,
    why: describeProblems(found.problems).trimEnd(),
    fix: 'correct the document; nothing was changed',
    details: { problems: found.problems },
  });
}
