import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { constants, generateKeyPairSync, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { accessSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keyObjectOf } from '../../keys/public-key.ts';
import { verifySignature } from '../../keys/verify-signature.ts';
import type { Signer } from '../../signers/signer.ts';
import { pkcs11Signer } from './pkcs11-signer.ts';
import { openSigner } from '../open-signer.ts';
import { parsePkcs11Uri } from './uri.ts';

const modulePath = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
].find((path) => {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
});

const message = Buffer.from('what is signed');

describe('a key on a token', { skip: modulePath === undefined ? 'no softhsm2' : false }, () => {
  let folder = '';
  const keys = {
    p256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    p384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    p521: () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
    rsa: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  };
  const publicKeys = new Map<string, KeyObject>();

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pkcs11-'));
    mkdirSync(join(folder, 'tokens'));
    writeFileSync(
      join(folder, 'conf'),
      `directories.tokendir = ${folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n`,
    );
    process.env['SOFTHSM2_CONF'] = join(folder, 'conf');
    const softhsm = (...args: readonly string[]): void =>
      void execFileSync('softhsm2-util', args, { stdio: 'pipe' });
    for (const token of ['ours', 'other'])
      softhsm('--init-token', '--free', '--label', token, '--so-pin', '0000', '--pin', '1234');
    Object.entries(keys).forEach(([name, make], index) => {
      const pair = make();
      publicKeys.set(name, pair.publicKey);
      writeFileSync(join(folder, `${name}.pem`), pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
      softhsm(
        '--import',
        join(folder, `${name}.pem`),
        '--token',
        'ours',
        '--label',
        name,
        '--id',
        `0${index + 1}`,
        '--pin',
        '1234',
      );
    });
    writeFileSync(join(folder, 'pin'), '1234\n', { mode: 0o600 });
    writeFileSync(join(folder, 'wrong'), '9999\n', { mode: 0o600 });
  });
  after(() => {
    delete process.env['SOFTHSM2_CONF'];
    rmSync(folder, { recursive: true });
  });

  const open = (path: string, pinFile: string | undefined = 'pin'): Promise<Signer> =>
    pkcs11Signer({
      uri: `pkcs11:${path}?module-path=${modulePath}${pinFile === undefined ? '' : `&pin-source=file:${folder}/${pinFile}`}`,
      pin: () => Promise.resolve('1234'),
      readPinFile: (file) => Promise.resolve(readFileSync(file, 'utf8').split('\n')[0] ?? ''),
    });

  for (const [name, schemes] of [
    ['p256', ['ecdsa-sha256', 'ecdsa-sha384']],
    ['p384', ['ecdsa-sha256', 'ecdsa-sha384']],
    ['p521', ['ecdsa-sha256', 'ecdsa-sha512']],
    ['rsa', ['rsa-pkcs1-sha256', 'rsa-pss-sha256', 'rsa-pss-sha384', 'rsa-pss-sha512']],
  ] as const) {
    test(`${name} signs as a key of this process does`, async () => {
      const signer = await open(`token=ours;object=${name}`);
      try {
        assert.ok(publicKeys.get(name)?.equals(keyObjectOf(signer.public)));
        assert.ok(verifySignature(signer.public, message, await signer.sign(message)));
        for (const scheme of schemes) {
          const signature = await signer.sign(message, scheme);
          const padding = scheme.startsWith('rsa-pss')
            ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
            : {};
          assert.ok(
            verify(
              scheme.split('-').at(-1),
              message,
              { key: keyObjectOf(signer.public), ...padding },
              signature,
            ),
            scheme,
          );
        }
        await assert.rejects(signer.sign(message, name === 'rsa' ? 'ecdsa-sha256' : 'ed25519'), {
          code: 'TRUST_SIGNING_SCHEME',
        });
      } finally {
        await signer.close();
      }
    });
  }

  test('a key is found by its id, and the PIN is requested if no file is named', async () => {
    const signer = await open('token=ours;id=%01', undefined);
    assert.ok(publicKeys.get('p256')?.equals(keyObjectOf(signer.public)));
    await signer.close();
  });

  for (const [path, pinFile, says] of [
    ['token=ours;object=p256', 'wrong', /the PIN is wrong/],
    ['token=absent;object=p256', 'pin', /no token matches/],
    ['token=ours;object=absent', 'pin', /no private key matches/],
    ['object=p256', 'pin', /2 tokens match|3 tokens match/],
  ] as const) {
    test(`${path} with the ${pinFile === 'pin' ? 'right' : 'wrong'} PIN is reported: ${String(says)}`, async () => {
      await assert.rejects(open(path, pinFile), (error: Error) => {
        assert.match(error.message, says);
        assert.match(error.message, /TRUST_PKCS11_FAILED/);
        assert.doesNotMatch(error.message, /1234|9999/);
        return true;
      });
    });
  }
});

test('a file that is not a module is reported', async () => {
  await assert.rejects(
    pkcs11Signer({
      uri: 'pkcs11:object=k?module-path=/bin/true',
      pin: () => Promise.resolve(''),
      readPinFile: () => Promise.resolve(''),
    }),
    { code: 'TRUST_PKCS11_FAILED' },
  );
});

for (const [uri, says] of [
  ['pkcs11:object=k', /names no module/],
  ['pkcs11:object=k?module-path=relative.so', /names no module/],
  ['pkcs11:token=t?module-path=/m.so', /names no key/],
  ['pkcs11:object=k?module-path=/m.so&pin-value=secret', /it contains a PIN/],
  ['pkcs11:object=k;pin-value=secret?module-path=/m.so', /pkcs11:object=k: it contains a PIN/],
  ['pkcs11:pin-value=secret;object=k?module-path=/m.so', /it contains a PIN/],
  ['pkcs11:object=k;PIN-VALUE=secret?module-path=/m.so', /it contains a PIN/],
  ['pkcs11:object=k?module-path=/m.so&pin_value=secret', /it contains a PIN/],
  ['pkcs11:object=k&pin-value=secret', /names no module/],
  ['pkcs11:object=k;object=l?module-path=/m.so', /object twice/],
  ['pkcs11:object=%zz?module-path=/m.so', /percent-encoded/],
  ['pkcs11:object=k;type=public?module-path=/m.so', /type is not "private"/],
  ['pkcs11:object=k;library=x?module-path=/m.so', /the unknown attribute "library"/],
  ['pkcs11:object=k?module-path=/m.so&pin-source=|secret', /pin-source is not a file/],
  ['file:/k', /does not begin with/],
] as const) {
  test(`${uri} is refused: ${String(says)}`, () => {
    assert.throws(
      () => parsePkcs11Uri(uri),
      (error: Error) => {
        assert.match(error.message, says);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      },
    );
  });
}

test('a URI in capitals is not taken for a file name: its PIN is not shown', async () => {
  const key = 'PKCS11:object=k?module-path=/m.so&pin-value=secret';
  await assert.rejects(
    openSigner({ key, passphrase: { environment: {} }, now: new Date() }),
    (error: Error) => {
      assert.match(error.message, /PKCS11:object=k: it contains a PIN/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    },
  );
});

test('a URI is read as RFC 7512 says', () => {
  assert.deepEqual(
    parsePkcs11Uri('pkcs11:token=The%20Token;id=%01%ff;slot-id=3?pin-source=file:/p&module-path=/m.so'),
    {
      modulePath: '/m.so',
      token: 'The Token',
      slotId: 3,
      id: Buffer.from([1, 255]),
      pinFile: '/p',
    },
  );
});

describe('a module that never answers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pkcs11-'));
  after(() => rmSync(folder, { recursive: true }));
  /** Returns the processes that this one has started and not ended. */
  const children = (): string => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();
  const refused = async (modulePath: string): Promise<void> => {
    const uri = `pkcs11:token=a;object=b?module-path=${modulePath}`;
    const [before, started] = [children(), performance.now()];
    await assert.rejects(
      pkcs11Signer({
        uri,
        pin: () => Promise.resolve('1234'),
        readPinFile: () => Promise.resolve(''),
        patienceMs: 3000,
      }),
      { code: 'TRUST_PKCS11_FAILED', message: /does not answer within 3 s/ },
    );
    assert.ok(performance.now() - started < 20_000, 'nothing waits for the module');
    assert.equal(children(), before, 'its process has ended');
  };

  test('is given up while its file is opened', async () => {
    const path = join(folder, 'waiting.so');
    // The loader waits until a program writes to it, as it would for a dead file server.
    execFileSync('mkfifo', [path]);
    await refused(path);
  });

  test('is given up when it is called', async (t) => {
    const [source, path] = [join(folder, 'silent.c'), join(folder, 'silent.so')];
    writeFileSync(
      source,
      '#include <unistd.h>\nunsigned long C_GetFunctionList(void *list) { for (;;) pause(); }\n',
    );
    try {
      execFileSync('cc', ['-shared', '-fPIC', '-o', path, source], { stdio: 'pipe' });
    } catch {
      return t.skip('no C compiler');
    }
    await refused(path);
  });
});
