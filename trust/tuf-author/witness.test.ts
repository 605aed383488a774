import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startTrustService } from '../notary/index.ts';
import { openRegistries } from '../registries/registry-access.ts';
import { openOwner } from './owner.ts';
import type { Owner } from './owner.types.ts';

test('the first targets of a collection of both dialects can be signed by two people', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'tuf-two-people-'));
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  const service = await startTrustService({ listen: '127.0.0.1:0', data: join(home, 'data') });
  const owners: Owner[] = [];
  t.after(async () => {
    for (const one of owners) await one.close();
    await service.close();
    await registries.close();
    await rm(home, { recursive: true });
  });
  const open = async (person: string): Promise<Owner> => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = join(home, person);
    await writeFile(key, privateKey.export({ format: 'pem', type: 'pkcs8' }));
    await writeFile(`${key}.pub`, publicKey.export({ format: 'pem', type: 'spki' }));
    const owner = await openOwner({
      folder: join(home, 'keys'),
      name: 'registry.example.com/pay/app',
      passphrase: { environment: { PORTCULLIS_PASSPHRASE: 'words' } },
      signers: [key],
      registries,
      now: new Date(),
    });
    owners.push(owner);
    return owner;
  };
  const [ann, bob] = [await open('ann'), await open('bob')];
  await ann.init({
    dialects: ['tuf', 'notary'],
    destinations: [service.url],
    keys: { targets: { files: ['ann', 'bob'].map((person) => join(home, `${person}.pub`)), threshold: 2 } },
    expiry: {},
    localKeys: false,
  });
  const publish = () => ann.publish({ to: [], countersign: false, expiry: {} });
  assert.equal((await publish()).missing.length, 2);
  assert.deepEqual(
    (await bob.witness('targets'))?.map(({ dialect, have }) => `${dialect} ${have}`),
    ['tuf 2', 'notary 2'],
  );
  assert.deepEqual((await publish()).missing, []);
});
