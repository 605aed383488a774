import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { policyKey } from '../keys/public-key.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { openKeyFile, readKeyFile, writeKeyFile } from './key-file.ts';
import { openKeystore, passphraseForRole } from './keystore.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-keystore-'));
after(() => rmSync(home, { recursive: true }));
const folder = (): string => mkdtempSync(join(home, 'store-'));
const words = (passphrase: string) => ({ environment: { PORTCULLIS_PASSPHRASE: passphrase } });

function signingKey(pair: { privateKey: SigningKey['private'] }): SigningKey {
  const key = policyKey('test', createPublicKey(pair.privateKey));
  assert.ok(!('problem' in key));
  return { public: key, private: pair.privateKey };
}

const pairs = {
  ecdsa: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ed25519: generateKeyPairSync('ed25519'),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};

describe('the keystore', () => {
  it('returns the stored key of each type, with its role and collection', async () => {
    const store = openKeystore(folder());
    for (const [type, pair] of Object.entries(pairs)) {
      const { id } = await store.keep(signingKey(pair), { role: type, gun: 'r.example/app' }, words('right'));
      const opened = await store.open(id, words('right'));
      const message = Buffer.from(type);
      const algorithm = type === 'ed25519' ? null : 'sha256';
      assert.ok(verify(algorithm, message, pair.publicKey, sign(algorithm, message, opened.private)), type);
    }
    const listed = await store.list();
    assert.deepEqual(listed.map(({ role, gun }) => `${role} ${gun ?? ''}`).sort(), [
      'ecdsa r.example/app',
      'ed25519 r.example/app',
      'rsa r.example/app',
    ]);
  });

  it('is readable by its owner only, whatever the umask', async () => {
    const before = process.umask(0);
    try {
      const at = folder();
      const { id } = await openKeystore(at).generate({ role: 'root' }, words('x'));
      assert.equal(statSync(join(at, 'private')).mode & 0o777, 0o700);
      assert.equal(statSync(join(at, 'private', `${id}.key`)).mode & 0o777, 0o600);
    } finally {
      process.umask(before);
    }
  });

  it('contains no part of the key or its passphrase in clear text', async () => {
    const at = folder();
    const { id } = await openKeystore(at).keep(
      signingKey(pairs.ecdsa),
      { role: 'targets' },
      words('a passphrase to look for'),
    );
    const text = readFileSync(join(at, 'private', `${id}.key`), 'utf8');
    assert.doesNotMatch(text, /a passphrase to look for/u);
    const secret = Buffer.from(pairs.ecdsa.privateKey.export({ format: 'jwk' }).d ?? '', 'base64url');
    assert.equal(Buffer.from(text.replaceAll(/-----.*|^.*:.*$/gmu, ''), 'base64').indexOf(secret), -1);
  });

  it('refuses a wrong passphrase, a truncated file, and a file that is not a key', async () => {
    const at = folder();
    const store = openKeystore(at);
    const { id } = await store.keep(signingKey(pairs.ecdsa), { role: 'root' }, words('right'));
    const refused = { code: 'TRUST_KEYSTORE_UNREADABLE' };
    await assert.rejects(store.open(id, words('wrong')), refused);
    await assert.rejects(store.open(id, words('')), refused);
    await assert.rejects(store.open('0'.repeat(64), words('right')), refused);
    await assert.rejects(store.open('../../etc/passwd', words('right')), refused);
    const file = join(at, 'private', `${id}.key`);
    const whole = readFileSync(file);
    for (const length of [0, 1, 40, 100, whole.length >> 1, whole.length - 30, whole.length - 20]) {
      writeFileSync(file, whole);
      truncateSync(file, length);
      await assert.rejects(store.open(id, words('right')), refused, `cut off at ${length}`);
    }
    writeFileSync(file, Buffer.alloc(65 * 1024, 'a'));
    await assert.rejects(store.open(id, words('right')), refused);
    await assert.rejects(store.list(), (error: Error) => error.message.includes(file));
  });

  it('refuses a passphrase that no reader could use', async () => {
    const at = folder();
    const store = openKeystore(at);
    await assert.rejects(store.generate({ role: 'root' }, words('ü'.repeat(513))), {
      code: 'TRUST_PASSPHRASE_TOO_LONG',
    });
    assert.deepEqual(await store.list(), []);
    const { id } = await store.generate({ role: 'root' }, words('ü'.repeat(512)));
    await store.open(id, words('ü'.repeat(512)));
  });

  it('lists its keys, without leftovers of a killed writer and other files', async () => {
    const at = folder();
    const store = openKeystore(at);
    assert.deepEqual(await store.list(), []);
    const { id } = await store.generate({ role: 'root' }, words('x'));
    writeFileSync(join(at, 'private', `.${id}.key.0123456789ab.tmp`), '-----BEGIN ENC');
    writeFileSync(join(at, 'private', 'notes.txt'), 'mine');
    assert.deepEqual(await store.list(), [{ id, role: 'root' }]);
    await store.remove(id);
    await store.remove(id);
    assert.deepEqual(await store.list(), []);
  });

  it('leaves complete keys or none when its process is killed', async () => {
    const at = folder();
    const program = `
      import { openKeystore } from ${JSON.stringify(import.meta.resolve('./keystore.ts'))};
      const store = openKeystore(${JSON.stringify(at)});
      for (;;) console.log((await store.generate({ role: 'targets' }, { environment: { PORTCULLIS_PASSPHRASE: 'x' } })).id);`;
    const kept: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const closed = once(child, 'close');
      let said = String((await once(child.stdout, 'data'))[0]);
      child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 200));
      child.kill('SIGKILL');
      await closed;
      kept.push(...said.split('\n').slice(0, -1));
    }
    const store = openKeystore(at);
    const ids = (await store.list()).map(({ id }) => id);
    assert.ok(kept.length >= 3);
    for (const id of kept) assert.ok(ids.includes(id), `${id} was kept and is gone`);
    for (const id of ids) await store.open(id, words('x'));
  });
});

describe('a key file', () => {
  it('can be opened with its passphrase, whatever it is, and with no other', async () => {
    const passphrase = fc.string({ unit: 'binary', maxLength: 64 });
    await fc.assert(
      fc.asyncProperty(passphrase, passphrase, async (right, wrong) => {
        const file = readKeyFile(
          await writeKeyFile(pairs.ecdsa.privateKey, { role: 'targets', gun: 'r.example/a' }, right),
        );
        assert.deepEqual(file.headers, { role: 'targets', gun: 'r.example/a' });
        assert.equal(openKeyFile('k', file, right).public.spki, signingKey(pairs.ecdsa).public.spki);
        if (Buffer.from(wrong).equals(Buffer.from(right))) return;
        assert.throws(() => openKeyFile('k', file, wrong), /passphrase is wrong or the file is damaged/u);
      }),
      { numRuns: 5 },
    );
  });

  it('gives an error sentence, whatever it contains', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((inside) => `-----BEGIN PRIVATE KEY-----\n${inside}\n-----END PRIVATE KEY-----\n`),
        ),
        (text) => {
          try {
            openKeyFile('k', readKeyFile(text), 'x');
            assert.fail('it was read');
          } catch (error) {
            assert.match(
              (error as Error).message,
              /^(it is not PEM|it contains several PEM blocks|its PEM block is )/u,
            );
          }
        },
      ),
    );
  });

  it('does not accept a role or collection name that adds headers', async () => {
    for (const headers of [{ role: 'root\nrole: x' }, { role: 'root', gun: 'a\r\nProc-Type: 4,ENCRYPTED' }])
      await assert.rejects(writeKeyFile(pairs.ecdsa.privateKey, headers, 'x'), /line/u);
  });
});

it('a passphrase comes from the variable of the role, then from ours for all roles, then from Notary’s', () => {
  const source = (environment: Readonly<Record<string, string>>, role: string) =>
    passphraseForRole({ environment }, role).environment;
  const all = {
    PORTCULLIS_ROOT_PASSPHRASE: 'a',
    PORTCULLIS_PASSPHRASE: 'b',
    NOTARY_ROOT_PASSPHRASE: 'c',
    NOTARY_DELEGATION_PASSPHRASE: 'd',
  };
  assert.deepEqual(source(all, 'root'), { PORTCULLIS_PASSPHRASE: 'a' });
  assert.deepEqual(source(all, 'targets'), { PORTCULLIS_PASSPHRASE: 'b' });
  assert.deepEqual(source({ NOTARY_ROOT_PASSPHRASE: 'c' }, 'root'), { PORTCULLIS_PASSPHRASE: 'c' });
  assert.deepEqual(source({ NOTARY_DELEGATION_PASSPHRASE: 'd' }, 'alice'), { PORTCULLIS_PASSPHRASE: 'd' });
  assert.deepEqual(source({ NOTARY_ROOT_PASSPHRASE: 'c' }, 'alice'), {});
});
