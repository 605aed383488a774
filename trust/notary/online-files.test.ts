import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { readMetadata } from '../tuf-metadata/read.ts';
import { nextNotarySnapshot, nextNotaryTimestamp } from './online-files.ts';
import { onlineKey } from './online-keys.ts';
import { readSnapshot, readTimestamp } from './remembered-files.ts';

const pkcs8 = generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' });
const held = [{ id: 'ab'.repeat(32), key: onlineKey('snapshot', pkcs8) }];
const now = Date.parse('2027-01-01T00:00:00Z');
const file = (role: string): { role: string; version: number; bytes: Buffer } => ({
  role,
  version: 1,
  bytes: Buffer.from(role),
});

test('the cached form of a file that the service signs equals the parsed file', () => {
  const first = nextNotarySnapshot({ former: undefined, files: [file('root'), file('targets')], held, now });
  const second = nextNotarySnapshot({ former: first.bytes, files: [file('targets/releases')], held, now });
  const timestamp = nextNotaryTimestamp({ former: undefined, snapshot: second, held, now });
  assert.deepEqual([...readSnapshot('notary', second.bytes).signed.meta.keys()].sort(), [
    'root',
    'targets',
    'targets/releases',
  ]);
  assert.deepEqual(readSnapshot('notary', first.bytes), readMetadata('notary', 'snapshot', first.bytes));
  assert.deepEqual(readSnapshot('notary', second.bytes), readMetadata('notary', 'snapshot', second.bytes));
  assert.deepEqual(
    readTimestamp('notary', timestamp.bytes),
    readMetadata('notary', 'timestamp', timestamp.bytes),
  );
});
