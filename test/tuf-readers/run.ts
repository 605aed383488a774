/**
 * `npm run test:tuf-readers`: tuf-js, python-tuf 7 and go-tuf 2 read what our publisher publishes to
 * `portcullis trust serve`, through ten root rotations, a lost timestamp key, a delegation with a threshold
 * of two of three, and 50,000 targets; takes about three minutes.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRegistries } from '../../trust/index.ts';
import { openOwner } from '../../trust/tuf-author/index.ts';
import type { Owner } from '../../trust/tuf-author/index.ts';
import { openReaders } from './readers.ts';
import type { Reader } from './readers.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-tuf-readers-'));
const app = 'registry.example.com/pay/app';
const data = join(folder, 'service');

interface Served {
  readonly child: ChildProcess;
  readonly url: string;
}

async function serve(listen: string): Promise<Served> {
  const main = join(import.meta.dirname, '../../cli/main.ts');
  const child = spawn(
    process.execPath,
    [main, 'trust', 'serve', '--listen', listen, '--data', data, '--output', 'json'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let said = '';
  while (!said.includes('}')) said += String((await once(child.stdout, 'data'))[0]);
  return { child, url: (JSON.parse(said) as { url: string }).url };
}

async function stop({ child }: Served): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

/** Opens the collection, runs one action and closes it, as each command of `portcullis trust` does. */
async function asOwner<T>(
  name: string,
  action: (owner: Owner) => Promise<T>,
  signers: readonly string[] = [],
): Promise<T> {
  const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
  try {
    const passphrase = { environment: { PORTCULLIS_PASSPHRASE: 'correct horse' } };
    const owner = await openOwner({
      folder: join(folder, 'owner'),
      name,
      passphrase,
      signers,
      registries,
      now: new Date(),
    });
    try {
      return await action(owner);
    } finally {
      await owner.close();
    }
  } finally {
    await registries.close();
  }
}

/** @returns how many signatures are missing */
const publish = (name: string, signers: readonly string[] = []): Promise<number> =>
  asOwner(
    name,
    async (owner) => (await owner.publish({ to: [], countersign: false, expiry: {} })).missing.length,
    signers,
  );

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const fileOf = (text: string) => ({
  length: Buffer.byteLength(text),
  hashes: { sha256: digestOf(text) },
  custom: undefined,
});

let service = await serve('127.0.0.1:0');
const { port } = new URL(service.url);

/** Checks that every reader finds these: a new reader from the first root on, and one that read before. */
async function hold(
  name: string,
  readers: readonly Reader[],
  step: string,
  expected: Readonly<Record<string, string>>,
): Promise<void> {
  const [names, url] = [Object.keys(expected), `${service.url}/tuf/${name}/`];
  const root = readFileSync(join(folder, 'owner/collections', encodeURIComponent(name), 'tuf/roots/1.json'));
  for (const reader of readers) {
    for (const memory of [`${reader.name} known ${name}`, `${reader.name} new ${step}`].map(
      encodeURIComponent,
    )) {
      const home = join(folder, memory);
      if (!existsSync(home)) {
        mkdirSync(home);
        writeFileSync(join(home, 'root.json'), root);
      }
      const start = performance.now();
      assert.deepEqual(
        await reader.read(home, url, names),
        Object.values(expected),
        `${reader.name}, ${step}`,
      );
      console.log(
        `${step}: ${reader.name} looks ${names.length} targets up in ${(performance.now() - start).toFixed(0)} ms`,
      );
    }
  }
}

/**
 * Publishes 50,000 targets of one role, for all readers but tuf-js 6, whose Targets.toJSON copies all targets
 * for each of them and takes minutes; and as many in fifty roles, for all readers.
 */
async function many(readers: readonly Reader[]): Promise<void> {
  const paths = Array.from({ length: 50_000 }, (_, index) => `${index % 50}/release-${index}`);
  const additions = (roleOf: (path: string) => string) =>
    paths.map((path) => ({ kind: 'add' as const, role: roleOf(path), path, file: fileOf(path) }));
  const expected = {
    ...Object.fromEntries(
      [0, 24_999, 49_999].map((index) => [paths[index] ?? '', digestOf(paths[index] ?? '')]),
    ),
    '0/release-50000': 'none',
  };
  for (const [what, roleOf, who] of [
    ['50,000 targets in one role', () => 'targets', readers.filter((reader) => reader !== readers[0])],
    ['50,000 targets in fifty roles', (path: string) => `bin-${path.split('/')[0] ?? ''}`, readers],
  ] as const) {
    const name = `registry.example.com/pay/${roleOf('0/x')}`;
    await asOwner(name, (owner) =>
      owner.init({ dialects: ['tuf'], destinations: [service.url], keys: {}, expiry: {}, localKeys: false }),
    );
    await asOwner(name, async (owner) => {
      const key = join(folder, 'ann.pub');
      for (let index = 0; index < 50; index += 1) {
        const role = roleOf(`${index}/x`);
        if (role === 'targets') continue;
        const scope = { kind: 'patterns', patterns: [`${index}/*`] } as const;
        await owner.delegate({
          delegator: 'targets',
          name: role,
          terminating: true,
          scope,
          files: [key],
          threshold: 1,
        });
      }
      await owner.stage(...additions(roleOf).sort((a, b) => (a.role < b.role ? -1 : 1)));
    });
    const start = performance.now();
    assert.equal(await publish(name, [join(folder, 'ann.pem')]), 0);
    console.log(`${what} published in ${(performance.now() - start).toFixed(0)} ms`);
    await hold(name, who, what, expected);
  }
}

async function story(): Promise<void> {
  const readers = openReaders();
  await asOwner(app, (owner) =>
    owner.init({
      dialects: ['tuf', 'notary'],
      destinations: [service.url],
      keys: {},
      expiry: {},
      localKeys: false,
    }),
  );
  await asOwner(app, (owner) =>
    owner.stage({ kind: 'add', role: 'targets', path: '1.0', file: fileOf('one') }),
  );
  assert.equal(await publish(app), 0);
  await hold(app, readers, 'first', { '1.0': digestOf('one'), '2.0': 'none' });

  for (let round = 0; round < 10; round += 1) {
    await asOwner(app, (owner) => owner.rotate('root', { files: [], threshold: 1 }));
    assert.equal(await publish(app), 0);
  }
  await hold(app, readers, 'ten root rotations', { '1.0': digestOf('one') });

  // The file that opens the service's keys is gone, and with it the timestamp key: the root names other keys.
  await stop(service);
  rmSync(join(data, 'service.key'));
  service = await serve(`127.0.0.1:${port}`);
  await asOwner(app, (owner) => owner.rotateToServer('timestamp'));
  await asOwner(app, (owner) => owner.rotateToServer('snapshot'));
  await asOwner(app, (owner) =>
    owner.stage({ kind: 'add', role: 'targets', path: '1.0', file: fileOf('two') }),
  );
  assert.equal(await publish(app), 0);
  await hold(app, readers, 'lost timestamp key', { '1.0': digestOf('two') });

  const keys = ['ann', 'bob', 'eve'].map((who) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    writeFileSync(join(folder, `${who}.pem`), privateKey.export({ format: 'pem', type: 'pkcs8' }), {
      mode: 0o600,
    });
    writeFileSync(join(folder, `${who}.pub`), publicKey.export({ format: 'pem', type: 'spki' }));
    return join(folder, who);
  });
  await asOwner(app, (owner) =>
    owner.delegate({
      delegator: 'targets',
      name: 'targets/stable',
      terminating: false,
      // A scope that both dialects can express.
      scope: { kind: 'hash-prefixes', prefixes: Array.from('0123456789abcdef') },
      files: keys.map((key) => `${key}.pub`),
      threshold: 2,
    }),
  );
  await asOwner(app, (owner) =>
    owner.stage({ kind: 'add', role: 'targets/stable', path: 'stable-1', file: fileOf('stable') }),
  );
  assert.notEqual(await publish(app, [`${keys[0] ?? ''}.pem`]), 0, 'one of three is not enough');
  await hold(app, readers, 'one signature of two', { '1.0': digestOf('two'), 'stable-1': 'none' });
  assert.equal(await publish(app, [`${keys[0] ?? ''}.pem`, `${keys[2] ?? ''}.pem`]), 0);
  await hold(app, readers, 'two of three', { '1.0': digestOf('two'), 'stable-1': digestOf('stable') });

  await many(readers);
  console.log(`tuf-readers: ${readers.map((reader) => reader.name).join(', ')} agree`);
}

try {
  await story();
} catch (error) {
  console.error(`tuf-readers: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await stop(service);
  rmSync(folder, { recursive: true, force: true });
}
