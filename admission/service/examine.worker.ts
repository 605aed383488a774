import { serveThread } from '../../base/process/index.ts';
import { examineBody } from './examine-review.ts';
import type { ExaminerCalls } from './examiner-calls.ts';

/** Examines large reviews off the main thread. */
const calls: ExaminerCalls = { examine: examineBody };

await serveThread(
  (call) => ({
    code: 'ADMISSION_FAILED',
    kind: 'internal',
    attempted: call,
    on: '',
    fix: 'try again; if it fails again, report this error',
  }),
  () => ({ offer: calls }),
);
