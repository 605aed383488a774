import { parentPort, workerData } from 'node:worker_threads';
import { reasonOf } from '../../../base/errors/index.ts';
import { openRepositoriesIn } from './repositories.ts';
import type { RepositoriesOptions } from './repositories.ts';
import type { Answered, Asked } from './trust-services-messages.ts';

/** Fetches, verifies and searches signed metadata, which may have tens of thousands of targets, on a thread that nobody waits for. */
const repositories = openRepositoriesIn(workerData as RepositoriesOptions);

parentPort?.on('message', (asked: Asked) => void answer(asked).then((answered) => parentPort?.postMessage(answered)));

async function answer({ id, requirement, reference, credentials, known }: Asked): Promise<Answered> {
  try {
    const said = await repositories.ask(requirement, reference, credentials);
    const files = said.files.map((file) => (file.packed !== undefined && known.includes(file.digest) ? { ...file, bytes: '' } : file));
    return { id, answer: { ...said, files } };
  } catch (error) {
    return { id, error: reasonOf(error) };
  }
}
