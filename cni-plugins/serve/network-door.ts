import { connect } from 'node:net';
import { reasonOf } from '../../base/errors/index.ts';
import type { PluginAnswer } from './answer.ts';
import { greeting, headSize, maxAnswer } from './frames.ts';

/** What `portcullis network` asks of a running daemon, over the socket at which plugins call it: only root may. */

export type NetworkQuestion = 'denials' | 'gc';

/** The program by whose name the question comes; no plugin has it. */
export const doorName = 'portcullis-network';
const variable = 'PORTCULLIS_NETWORK';

/** Answers a question with plain JSON. */
export type AnswerNetwork = (question: NetworkQuestion) => Promise<object>;

/** Daemon's side. */
export async function answerDoor(environment: Readonly<Record<string, string>>, answer: AnswerNetwork | undefined): Promise<PluginAnswer> {
  const question = (['denials', 'gc'] as const).find((each) => each === environment[variable]);
  if (question === undefined || answer === undefined) return { exitCode: 1, stdout: '', stderr: 'this daemon does not know the question' };
  try {
    return { exitCode: 0, stdout: JSON.stringify(await answer(question), plain), stderr: '' };
  } catch (thrown) {
    return { exitCode: 1, stdout: '', stderr: reasonOf(thrown) };
  }
}

const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);

export type DoorAnswer<Value> = { readonly value: Value } | { readonly why: string };

/** Client's side. Why there is no answer is a sentence. */
export async function askNetwork<Value>(socket: string, question: NetworkQuestion, timeoutMs = 120_000): Promise<DoorAnswer<Value>> {
  const strings = Buffer.from(`${doorName}\0${variable}=${question}\0`);
  const head = Buffer.alloc(headSize);
  greeting.copy(head);
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(strings.length), 16);
  const received = await new Promise<Buffer | string>((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const connection = connect(socket, () => connection.write(Buffer.concat([head, strings])));
    const done = (result: Buffer | string): void => {
      connection.destroy();
      resolve(result);
    };
    connection.setTimeout(timeoutMs, () => done(`the daemon at ${socket} did not answer within ${timeoutMs / 1000} s`));
    connection.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > mostBytes) done('the answer is too long');
    });
    connection.on('error', (error) => done(`the daemon does not answer at ${socket}: ${error.message}`));
    connection.on('end', () => done(Buffer.concat(chunks)));
  });
  if (typeof received === 'string') return { why: received };
  const body = received.subarray(greeting.length);
  if (body.length < headSize) return { why: `whoever listens at ${socket} speaks another protocol` };
  const [exitCode, out, err] = [0, 8, 16].map((at) => Number(body.readBigUInt64LE(at)));
  const text = (from: number, length: number): string => body.subarray(headSize + from, headSize + from + length).toString('utf8');
  if (exitCode !== 0) return { why: text(out ?? 0, err ?? 0) };
  return { value: JSON.parse(text(0, out ?? 0)) as Value };
}

/** Much more than the thin client takes: thousands of denials. */
const mostBytes = 64 * maxAnswer;
