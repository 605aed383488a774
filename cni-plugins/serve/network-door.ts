import { connect } from 'node:net';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, errorFromJson, errorToJson, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { SerialisedError } from '../../base/errors/index.ts';
import type { PluginAnswer } from './answer.ts';
import { greeting, headSize, maxAnswer } from './frames.ts';
import type { AnswerNetwork, NetworkQuestion } from './serving.types.ts';

/**
 * Queries of `portcullis network` and `portcullis service` to a running daemon, over the socket at which
 * plugins call it. Only root may send them.
 */

const questions: readonly NetworkQuestion[] = ['alterations', 'denials', 'explain', 'gc', 'overlay', 'services'];

/** The program name that marks a query. No plugin has this name. */
export const doorName = 'portcullis-network';
const variable = 'PORTCULLIS_NETWORK';
const bodyVariable = 'PORTCULLIS_NETWORK_BODY';

/** The daemon's side: answers a query. */
export async function answerDoor(environment: Readonly<Record<string, string>>, answer: AnswerNetwork | undefined): Promise<PluginAnswer> {
  const question = questions.find((each) => each === environment[variable]);
  if (question === undefined || answer === undefined) return { exitCode: 1, stdout: '', stderr: 'this daemon does not know the question' };
  try {
    const answered = await answer(question, environment[bodyVariable] ?? '');
    return { exitCode: 0, stdout: typeof answered === 'string' ? answered : JSON.stringify(answered, plain), stderr: '' };
  } catch (thrown) {
    // A failure of ours is passed on completely, so that the command can print it.
    const failure = isPortcullisError(thrown) ? JSON.stringify(errorToJson(thrown)) : '';
    return { exitCode: 1, stdout: failure, stderr: reasonOf(thrown) };
  }
}

const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);

/** `failure`: the daemon refused the query with this error. */
export type DoorAnswer<Value> = { readonly value: Value } | { readonly why: string; readonly failure?: PortcullisError };

/**
 * The client's side: sends a query. If there is no answer, `why` is a sentence.
 * @param body text without NUL, much shorter than the 6 MiB that a call may have
 */
export async function askNetwork<Value>(
  socket: string,
  question: NetworkQuestion,
  body = '',
  timeoutMs = 120_000,
): Promise<DoorAnswer<Value>> {
  const strings = Buffer.from(`${doorName}\0${variable}=${question}\0${body === '' ? '' : `${bodyVariable}=${body}\0`}`);
  const head = Buffer.alloc(headSize);
  greeting.copy(head);
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(strings.length), 16);
  const received = await new Promise<Buffer | string | PortcullisError>((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const connection = connect(socket, () => connection.write(Buffer.concat([head, strings])));
    const done = (result: Buffer | string | PortcullisError): void => {
      connection.destroy();
      resolve(result);
    };
    connection.setTimeout(timeoutMs, () => done(`the daemon at ${socket} did not answer within ${timeoutMs / 1000} s`));
    connection.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > mostBytes) done('the answer is too long');
    });
    connection.on('error', (error: NodeJS.ErrnoException) =>
      done(error.code === 'EACCES' ? notRoot(socket, error) : `the daemon does not answer at ${socket}: ${error.message}`),
    );
    connection.on('end', () => done(Buffer.concat(chunks)));
  });
  if (typeof received === 'string') return { why: received };
  if (isPortcullisError(received)) return { why: received.failure.why, failure: received };
  const answer = received.subarray(greeting.length);
  if (answer.length < headSize) return { why: `the process that listens at ${socket} speaks another protocol` };
  const [exitCode, out, err] = [0, 8, 16].map((at) => Number(answer.readBigUInt64LE(at)));
  const text = (from: number, length: number): string => answer.subarray(headSize + from, headSize + from + length).toString('utf8');
  if (exitCode !== 0) {
    const failure = text(0, out ?? 0);
    const why = text(out ?? 0, err ?? 0);
    return failure === '' ? { why } : { why, failure: errorFromJson(parseJson(failure) as SerialisedError) };
  }
  return { value: parseJson(text(0, out ?? 0)) as Value };
}

function notRoot(socket: string, cause: Error): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_NOT_ROOT',
    kind: 'denied',
    attempted: 'ask the daemon',
    on: socket,
    why: `only root may: ${cause.message}`,
    fix: 'call it as root',
    cause,
  });
}

/** Much more than the thin client accepts: thousands of denials fit. */
const mostBytes = 64 * maxAnswer;
