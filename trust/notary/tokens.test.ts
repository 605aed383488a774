import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import type { JWTPayload } from 'jose';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { multipart, multipartType, publisher } from './publisher.fixture.ts';
import type { KeyEntry } from './publisher.fixture.ts';
import { startTrustService } from './trust-service.ts';
import type { TrustService } from './trust-service.ts';
import { tokenGuard } from './tokens.ts';
import type { TokenAuthority } from './tokens.ts';

const authority = { realm: 'https://auth.example.com/token', service: 'trust', issuer: 'auth.example.com' };
const gun = 'example.com/app';
let folder: string;

interface Issuer {
  readonly certificate: string;
  readonly key: ReturnType<typeof createPrivateKey>;
}

function issuer(name: string, by?: string): Issuer {
  const more =
    by === undefined
      ? []
      : [
          '-CA',
          join(folder, `${by}.pem`),
          '-CAkey',
          join(folder, `${by}.key`),
          '-addext',
          'basicConstraints=CA:FALSE',
        ];
  const { key, certificate } = makeCertificate(folder, name, { days: 300, more });
  return { certificate: readFileSync(certificate, 'utf8'), key: createPrivateKey(readFileSync(key)) };
}

interface TokenChanges {
  readonly payload?: JWTPayload;
  readonly header?: object;
  readonly expires?: string;
}

const access = (actions: readonly string[], name = gun): JWTPayload => ({
  access: [{ type: 'repository', name, actions }],
});

function token(
  { key }: Issuer,
  { payload = access(['pull']), header = {}, expires = '5m' }: TokenChanges = {},
): Promise<string> {
  return new SignJWT({ iss: authority.issuer, aud: authority.service, ...payload })
    .setProtectedHeader({ alg: 'ES256', typ: 'JWT', ...header })
    .setExpirationTime(expires)
    .sign(key);
}

/** Returns libtrust's name of a key: base32 of the first 30 bytes of the SPKI's digest, in groups of four. */
function libtrust(certificate: string): string {
  const digest = createHash('sha256')
    .update(new X509Certificate(certificate).publicKey.export({ format: 'der', type: 'spki' }))
    .digest();
  const text = execFileSync('base32', { input: digest.subarray(0, 30) })
    .toString()
    .trim();
  return text.match(/.{4}/gu)?.join(':') ?? '';
}

describe('tokens of the trust service', () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-tokens-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('accepts only tokens of its issuer, and only for the access that they grant', async () => {
    const [ca, other] = [issuer('ca'), issuer('other')];
    const leaf = issuer('leaf', 'ca');
    const x5c = [leaf, ca].map(({ certificate }) => new X509Certificate(certificate).raw.toString('base64'));
    const pull = { type: 'repository', name: gun, actions: ['pull'] } as const;
    const judge = async (
      options: Partial<TokenAuthority>,
      text: string | undefined,
      wanted: typeof pull | { type: 'repository'; name: string; actions: string[] } = pull,
    ): Promise<string> => {
      const challenge = await tokenGuard({ ...authority, ...options }, Date.now)(
        text === undefined ? undefined : `Bearer ${text}`,
        wanted,
      );
      return challenge === undefined ? 'yes' : (/error="([^"]+)"/u.exec(challenge)?.[1] ?? 'challenge');
    };
    const certificates = `${ca.certificate}${other.certificate}`;
    const alone = { certificates: ca.certificate };
    const jwks = {
      keys: [
        { ...(await exportJWK(new X509Certificate(ca.certificate).publicKey)), kid: 'one', alg: 'ES256' },
      ],
    };
    assert.equal(await judge(alone, undefined), 'challenge');
    assert.equal(await judge(alone, await token(ca)), 'yes');
    assert.equal(await judge({ certificates }, await token(leaf, { header: { x5c } })), 'yes');
    assert.equal(
      await judge({ certificates }, await token(ca, { header: { kid: libtrust(ca.certificate) } })),
      'yes',
    );
    assert.equal(await judge({ jwks }, await token(ca, { header: { kid: 'one' } })), 'yes');
    assert.equal(
      await judge(alone, await token(ca, { payload: access(['push', 'pull', '*']) }), {
        ...pull,
        actions: ['push', 'pull'],
      }),
      'yes',
    );
    assert.equal(
      await judge(alone, await token(ca), { ...pull, actions: ['push', 'pull'] }),
      'insufficient_scope',
    );
    assert.equal(
      await judge(alone, await token(ca, { payload: access(['pull'], 'example.com/other') })),
      'insufficient_scope',
    );
    assert.equal(await judge(alone, await token(ca, { payload: { access: 'all' } })), 'insufficient_scope');
    assert.equal(
      await judge({ certificates: other.certificate }, await token(leaf, { header: { x5c } })),
      'invalid_token',
    );
    assert.equal(
      await judge({ certificates }, await token(other, { header: { x5c } })),
      'invalid_token',
      'another key than the chain’s',
    );
    assert.equal(await judge(alone, await token(other)), 'invalid_token');
    assert.equal(
      await judge({ certificates }, await token(ca, { header: { kid: 'unknown' } })),
      'invalid_token',
    );
    assert.equal(await judge(alone, await token(ca, { expires: '-5m' })), 'invalid_token');
    assert.equal(
      await judge(alone, await token(ca, { payload: { ...access(['pull']), iss: 'evil' } })),
      'invalid_token',
    );
    assert.equal(
      await judge(alone, await token(ca, { payload: { ...access(['pull']), aud: 'evil' } })),
      'invalid_token',
    );
    const [, claims = ''] = (await token(ca)).split('.');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    assert.equal(await judge(alone, `${none}.${claims}.`), 'invalid_token');
    const shared = await new SignJWT({ ...access(['pull']), iss: authority.issuer, aud: authority.service })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('5m')
      .sign(Buffer.from(ca.certificate));
    assert.equal(await judge(alone, shared), 'invalid_token');
  });

  it('refuses a key set that has private keys or no public key', async () => {
    const { key } = issuer('owner');
    const secret = { kty: 'oct', k: 'AAAA' };
    for (const [keys, why] of [
      [[await exportJWK(key)], /it is a private key/u],
      [[], /it has no public key/u],
      [[secret, []], /it has no public key/u],
    ] as const)
      assert.throws(() => tokenGuard({ ...authority, jwks: { keys } }, Date.now), why);
    const open = await exportJWK(createPublicKey(key));
    assert.doesNotThrow(() => tokenGuard({ ...authority, jwks: { keys: [secret, open] } }, Date.now));
  });

  it('requires Notary’s scopes for each request', async () => {
    const ca = issuer('routes');
    const service: TrustService = await startTrustService({
      listen: '127.0.0.1:0',
      data: join(folder, 'data'),
      tokens: { ...authority, certificates: ca.certificate },
    });
    try {
      const tuf = `/v2/${gun}/_trust/tuf/`;
      const routes: [string, string, string][] = [
        ['GET', '/v2/', 'registry:catalog:*'],
        ['GET', '/v2/_trust/changefeed?records=1', 'registry:catalog:*'],
        ['GET', '/nowhere', 'registry:catalog:*'],
        ['GET', `${tuf}root.json`, `repository:${gun}:pull`],
        ['GET', `/v2/${gun}/_trust/changefeed?records=1`, `repository:${gun}:pull`],
        ['GET', `${tuf}timestamp.key`, `repository:${gun}:push,pull`],
        ['POST', tuf, `repository:${gun}:push,pull`],
        ['POST', `${tuf}snapshot.key`, `repository:${gun}:*`],
        ['DELETE', tuf, `repository:${gun}:*`],
        ['GET', `/tuf/${gun}/timestamp.json`, `repository:${gun}:pull`],
        ['POST', `/tuf/${gun}/`, `repository:${gun}:push,pull`],
      ];
      for (const [method, path, scope] of routes) {
        const answer = await fetch(`${service.url}${path}`, { method });
        const { errors } = (await answer.json()) as { errors: { code: string }[] };
        assert.deepEqual([answer.status, errors[0]?.code], [401, 'UNAUTHORIZED'], path);
        assert.equal(
          answer.headers.get('www-authenticate'),
          `Bearer realm="${authority.realm}",service="trust",scope="${scope}"`,
        );
      }
      for (const open of ['/_notary_server/health', '/metrics'])
        assert.equal((await fetch(`${service.url}${open}`)).status, 200);
      const authorization = `Bearer ${await token(ca, { payload: access(['push', 'pull']) })}`;
      assert.equal(
        (await fetch(`${service.url}${tuf}timestamp.key`, { headers: { authorization } })).status,
        200,
      );
      assert.equal(
        (await fetch(`${service.url}${tuf}root.json`, { headers: { authorization } })).status,
        404,
      );
      assert.equal(
        (await fetch(`${service.url}${tuf}`, { method: 'DELETE', headers: { authorization } })).status,
        401,
      );
    } finally {
      await service.close();
    }
  });

  it('lets no shared cache give a file to clients without a token', async () => {
    const ca = issuer('cache');
    const service = await startTrustService({
      listen: '127.0.0.1:0',
      data: join(folder, 'cached'),
      tokens: { ...authority, certificates: ca.certificate },
    });
    try {
      const authorization = `Bearer ${await token(ca, { payload: access(['push', 'pull']) })}`;
      const ask = (name: string, body?: Buffer): Promise<Response> =>
        fetch(`${service.url}/v2/${gun}/_trust/tuf/${name}`, {
          headers: { authorization, ...(body !== undefined && { 'content-type': multipartType }) },
          ...(body !== undefined && { method: 'POST', body: new Uint8Array(body) }),
        });
      const key = async (role: string) => (await (await ask(`${role}.key`)).json()) as KeyEntry;
      const owner = publisher(gun);
      const root = owner.root(1, { snapshot: await key('snapshot'), timestamp: await key('timestamp') });
      const body = multipart([
        { name: 'root', bytes: root },
        { name: 'targets', bytes: owner.targets(1) },
      ]);
      const posted = await ask('', body);
      assert.equal(posted.status, 200);
      for (const [name, expected] of [
        ['timestamp.json', 'private, max-age=300, must-revalidate'],
        ['1.root.json', 'private, max-age=2592000'],
      ] as const) {
        const answer = await ask(name);
        assert.equal(answer.status, 200, name);
        assert.equal(answer.headers.get('cache-control'), expected);
      }
    } finally {
      await service.close();
    }
  });
});
