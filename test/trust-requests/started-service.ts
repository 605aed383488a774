import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT, exportJWK } from 'jose';
import type { TokenAuthority } from '../../trust/notary/tokens.ts';
import { askRaw, statusOf } from './ask.ts';
import { collections } from './requests.ts';

/** A trust service in a separate process. */
export interface StartedService {
  readonly port: number;
  /** Values of `Authorization`, valid ones among them; empty without tokens. */
  readonly authorizations: readonly string[];
  isAlive(): boolean;
  /** The end of its standard error. */
  errors(): string;
  /** Sends a request. @param line only method and path */
  ask(line: string): Promise<{ readonly status: number | undefined; readonly text: string }>;
  /** Kills it, and removes its folder. */
  end(): Promise<void>;
}

export async function startService({ tokens }: { readonly tokens: boolean }): Promise<StartedService> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-trust-requests-'));
  const { authority, authorizations } = tokens
    ? await tokensFor()
    : { authority: undefined, authorizations: [] };
  const child = serve(folder, authority);
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => (errors = `${errors}${chunk.toString()}`.slice(-4000)));
  const isAlive = (): boolean => child.exitCode === null && child.signalCode === null;
  const end = async (): Promise<void> => {
    if (isAlive()) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const port = await portOf(child);
    return {
      ...{ port, authorizations, isAlive, end },
      errors: () => errors,
      async ask(line) {
        const answer = await askRaw(
          port,
          Buffer.from(`${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`, 'latin1'),
          'status',
        );
        return { status: answer && statusOf(answer), text: answer?.toString('latin1') ?? '' };
      },
    };
  } catch (thrown) {
    await end();
    throw thrown;
  }
}

function serve(folder: string, tokens: TokenAuthority | undefined): ChildProcess {
  const options = {
    listen: '127.0.0.1:0',
    data: folder,
    uploadBytes: 1024 * 1024,
    ...(tokens === undefined ? {} : { tokens }),
  };
  const source = `import { startTrustService } from ${JSON.stringify(import.meta.resolve('../../trust/notary/index.ts'))};
    const { url } = await startTrustService({ ...${JSON.stringify(options)}, onFailure: (error) => process.stderr.write(error.stack + '\\n') });
    process.stdout.write(new URL(url).port + '\\n');`;
  return spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function portOf(child: ChildProcess): Promise<number> {
  assert.ok(child.stdout !== null);
  const [line] = (await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])) as [unknown];
  assert.ok(Buffer.isBuffer(line), `the service did not start: ${String(line)}`);
  return Number(line.toString());
}

async function tokensFor(): Promise<{
  readonly authority: TokenAuthority;
  readonly authorizations: readonly string[];
}> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const authority = {
    ...{ realm: 'https://auth.example.com/token?a="b\\c"', service: 'trust', issuer: 'auth.example.com' },
    jwks: { keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256' }] },
  };
  const sign = (access: unknown): Promise<string> =>
    new SignJWT({ iss: authority.issuer, aud: authority.service, access })
      .setProtectedHeader({ alg: 'ES256' })
      .setExpirationTime('30d')
      .sign(privateKey);
  const everything = [
    { type: 'registry', name: 'catalog', actions: ['*'] },
    ...collections.map((name) => ({ type: 'repository', name, actions: ['*', 'push', 'pull'] })),
  ];
  const valid = await Promise.all([
    sign(everything),
    sign(everything),
    sign([]),
    sign('x'),
    sign([null, { actions: 1 }]),
    sign({ a: [] }),
  ]);
  const odd = [
    '',
    'x',
    'a.b.c',
    'e30.e30.',
    `${'A'.repeat(9000)}.b.c`,
    '\xe9',
    `${valid[0]?.slice(0, -3) ?? ''}AAA`,
  ];
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{}').toString('base64url')}.`;
  const chain = `${Buffer.from('{"alg":"ES256","x5c":["%%%",1,null],"kid":{}}').toString('base64url')}.e30.AA`;
  return { authority, authorizations: [...valid, ...odd, none, chain].map((token) => `Bearer ${token}`) };
}
