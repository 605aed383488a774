import { serveThread } from '../../base/process/index.ts';
import { accept, asBuffer } from './accept.ts';
import type { JudgeCalls } from './upload-judge-calls.ts';
import { differentTarget } from './same-targets.ts';

/** Judges large uploads off the main thread. */
const calls: JudgeCalls = {
  accept: (dialect, input) =>
    accept(dialect, {
      ...input,
      uploads: input.uploads.map(({ name, bytes }) => ({ name, bytes: asBuffer(bytes) })),
      stored: buffers(input.stored),
      online: input.online.map((key) => ({ ...key, public: asBuffer(key.public) })),
    }),
  differentTarget: (notary, tuf) => differentTarget(buffers(notary), buffers(tuf)),
};

const buffers = (files: ReadonlyMap<string, Buffer>): Map<string, Buffer> =>
  new Map([...files].map(([role, bytes]) => [role, asBuffer(bytes)]));

await serveThread(
  (call) => ({
    code: 'TRUST_SERVICE_FAILED',
    kind: 'internal',
    attempted: call,
    on: '',
    fix: 'try again; if it fails again, report this error',
  }),
  () => ({ offer: calls }),
);
