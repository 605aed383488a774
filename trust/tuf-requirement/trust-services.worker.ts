import { workerData } from 'node:worker_threads';
import { serveThread } from '../../base/process/index.ts';
import { openRepositoriesIn } from './repositories.ts';
import type { RepositoriesOptions } from './repositories.ts';
import type { TrustServicesCalls } from './trust-services-messages.ts';

/**
 * Fetches, verifies and searches signed metadata on a thread of its own, because the metadata may have tens
 * of thousands of targets.
 */
const repositories = openRepositoriesIn(workerData as RepositoriesOptions);

const calls: TrustServicesCalls = {
  async ask({ requirement, reference, credentials, known, askedAt }) {
    const said = await repositories.ask(requirement, reference, credentials, askedAt);
    const held = new Set(known);
    return {
      ...said,
      files: said.files.map((file) =>
        file.packed !== undefined && held.has(file.digest) ? { ...file, bytes: '' } : file,
      ),
    };
  },
};

await serveThread(
  (call) => ({
    code: 'TRUST_SERVICES_FAILED',
    kind: 'internal',
    attempted: call,
    on: '',
    fix: 'try again; if it fails again, report this error',
  }),
  () => ({ offer: calls }),
);
