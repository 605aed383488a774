/**
 * Verifies archives by the policies that they carry, in one process: `[{ file, key, trustState }]` on
 * standard input, one outcome for each on standard output.
 */
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { parseJson } from '../../base/json/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { parsePublicKey } from '../keys/public-key.ts';
import { verifyArchive } from './carry.ts';

interface Asked {
  readonly file: string;
  readonly key: string;
  readonly trustState: string;
}

const asked = parseJson(await text(process.stdin)) as readonly Asked[];
const outcomes: string[] = [];
for (const { file, key, trustState } of asked) {
  const archiveKey = parsePublicKey(key, readFileSync(key, 'utf8'));
  if ('problem' in archiveKey) throw new Error(archiveKey.problem);
  const { verdict } = await verifyArchive({
    file,
    key: archiveKey,
    namespace: '',
    trustState,
    now: new Date(),
  }).catch((error: unknown) => ({ verdict: { outcome: reasonOf(error) } }));
  outcomes.push(verdict.outcome);
}
process.stdout.write(JSON.stringify(outcomes));
