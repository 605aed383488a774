import { parentPort } from 'node:worker_threads';
import { accept, asBuffer } from './accept.ts';
import type { AcceptInput } from './accept.ts';
import type { Dialect } from '../tuf/metadata/model.ts';

/** Judges large uploads off the main thread. Messages: id, dialect and input; answers: id and outcome, or why it broke. */
export interface AcceptRequest {
  readonly id: number;
  readonly dialect: Dialect;
  readonly input: AcceptInput;
}

parentPort?.on('message', ({ id, dialect, input }: AcceptRequest) => {
  try {
    const outcome = accept(dialect, {
      ...input,
      uploads: input.uploads.map(({ name, bytes }) => ({ name, bytes: asBuffer(bytes) })),
      stored: new Map([...input.stored].map(([role, bytes]) => [role, asBuffer(bytes)])),
      online: input.online.map((key) => ({ ...key, public: asBuffer(key.public) })),
    });
    parentPort?.postMessage({ id, outcome });
  } catch (thrown) {
    parentPort?.postMessage({ id, broken: thrown instanceof Error ? thrown.message : String(thrown) });
  }
});
