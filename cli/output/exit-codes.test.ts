import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { createCriServer } from '../../runtime/index.ts';
import { compileCache, portcullis, portcullisCommand, runProgram } from '../../test/fixtures/command.ts';
import type { Ended } from '../../test/fixtures/command.ts';
import { exitCodeOf, exitCodesHelp } from './exit-codes.ts';

/** Nothing listens there. */
const down = '127.0.0.1:1';
let folder = '';
let server: Awaited<ReturnType<typeof createCriServer>>;
let listing: () => void = () => undefined;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-exit-'));
  server = await createCriServer({
    socketPath: join(folder, 'cri.sock'),
    log: createLogger({ level: 'silent' }),
    runtimeService: { listContainers: () => Promise.resolve({ containers: [] }) },
    imageService: {
      imageStatus: () => Promise.resolve({}),
      listImages: () => {
        listing();
        return new Promise(() => undefined);
      },
      pullImage: async ({ image }) => {
        if (image?.image === 'denied')
          throw new PortcullisError({
            code: 'IMAGES_DENIED',
            kind: 'denied',
            attempted: 'pull image',
            on: 'denied',
            why: 'no',
            fix: 'none',
          });
        // As the daemon does: a client of registries, and a registry that is down.
        const client = createRegistryClient({});
        try {
          const [repository] = client.repositories({ registry: down, repository: 'app' });
          await repository?.resolve('1');
          return {};
        } finally {
          await client.close();
        }
      },
    },
  });
  const key = await run('sign', '--generate-key', join(folder, 'cosign'));
  assert.equal(key.code, 0, key.output);
  await writeFile(join(folder, 'predicate.json'), '{}');
});
after(async () => {
  await server.close({ graceMs: 0 });
  await rm(folder, { recursive: true });
});

function environment(): NodeJS.ProcessEnv {
  const { PATH } = process.env;
  return {
    ...compileCache,
    PATH,
    HOME: folder,
    PORTCULLIS_PASSPHRASE: 'a long passphrase',
    PORTCULLIS_SOCKET: join(folder, 'cri.sock'),
  };
}

const run = (...words: readonly string[]): Promise<Ended> => portcullis(words, environment());
const at = (name: string): string => join(folder, name);

describe('a registry that is down: every command exits with 3', () => {
  const image = `${down}/app:1`;
  const collection = `${down}/app`;
  before(async () => {
    const created = await run(
      'trust',
      'init',
      collection,
      '--to',
      `oci://${collection}`,
      '--dir',
      at('trust'),
    );
    assert.equal(created.code, 0, created.output);
  });
  const commands: readonly (() => readonly string[])[] = [
    () => ['verify', image, '--key', at('cosign.pub')],
    () => ['sign', image, '--key', at('cosign.key')],
    () => [
      'attest',
      image,
      '--type',
      'custom',
      '--predicate',
      at('predicate.json'),
      '--key',
      at('cosign.key'),
    ],
    () => ['images', 'copy', image, `${down}/copy:1`],
    () => ['images', 'pull', image],
    () => ['images', 'export', image, at('exported.tar')],
    () => ['trust', 'publish', collection, '--dir', at('trust')],
    () => ['trust', 'archive', 'create', image, at('image.tar')],
  ];
  for (const words of commands)
    it(words().slice(0, 2).join(' '), async () => {
      const { code, output } = await run(...words());
      // `trust publish` first reads what is published there.
      assert.match(output, /\[(?:DISTRIBUTION|TRUST_TUF)_UNREACHABLE\]/u);
      assert.equal(code, 3, output);
    });
});

describe('policy check: an invalid policy is the answer no, and a file that cannot be read is wrong input', () => {
  it('a file that does not exist, alone or beside a file with a problem', async () => {
    await writeFile(join(folder, 'invalid.yaml'), 'kind: TrustPolicy\n');
    const check = async (...files: string[]): Promise<number | null> =>
      (await run('policy', 'check', ...files.map((file) => join(folder, file)))).code;
    assert.deepEqual(
      [await check('none.yaml'), await check('invalid.yaml'), await check('none.yaml', 'invalid.yaml')],
      [2, 1, 1],
    );
  });
});

describe('no daemon at the socket: every command exits with 4', () => {
  for (const words of [
    ['pods', '--socket', '/nonexistent/x.sock'],
    ['ps', '--socket', '/nonexistent/x.sock'],
    ['images', 'ls', '--socket', '/nonexistent/x.sock'],
    ['images', 'pull', 'a:1', '--socket', '/nonexistent/x.sock'],
    ['images', 'check', '--admin-socket', '/nonexistent/x.sock'],
    ['images', 'prune', '--admin-socket', '/nonexistent/x.sock'],
    ['exec', '--socket', '/nonexistent/x.sock', 'web', 'id'],
    ['logs', 'web', '--socket', '/nonexistent/x.sock'],
    ['service', 'ls', '--admin-socket', '/nonexistent/x.sock'],
    ['network', 'overlay', 'status', '--admin-socket', '/nonexistent/x.sock'],
    ['explain-denial', 'web', '--admin-socket', '/nonexistent/x.sock'],
  ])
    it(words.join(' '), async () => {
      const { code, output } = await run(...words);
      assert.equal(code, 4, output);
      assert.match(output, /the socket does not exist|x\.sock: it does not exist/u);
      assert.doesNotMatch(output, /ENOENT/u);
    });
});

describe('wrong input: every command exits with 2, and says that the file does not exist', () => {
  const commands: readonly (() => readonly string[])[] = [
    () => ['verify', 'a:1', '--key', at('none')],
    () => ['verify', 'a:1', '--policy', at('none')],
    () => ['sign', 'a:1', '--key', at('none')],
    () => ['images', 'push', at('none'), 'a:1'],
    () => ['images', 'import', at('none'), 'a:1'],
    () => ['attest', 'a:1', '--type', 'custom', '--predicate', at('none'), '--key', at('cosign.key')],
    () => ['policy', 'explain', '--policy', at('none')],
    () => ['spec', 'validate', at('none')],
    () => ['entitlements', 'fmt', at('none')],
    () => ['service', 'apply', '-f', at('none')],
    () => ['config', 'import', at('none')],
    () => ['policy', 'fmt', at('none')],
    () => ['policy', 'import', '--from', 'containers', at('none')],
    () => ['trust', 'archive', 'verify', at('none')],
    () => ['verdicts', 'ls', '--file', at('none')],
  ];
  for (const words of commands)
    it(words().slice(0, 3).join(' '), async () => {
      const { code, output } = await run(...words());
      assert.match(output, /none: (?:cannot be read: )?it does not exist/u);
      assert.doesNotMatch(output, /ENOENT|:1:1|correct the lines/u);
      assert.equal(code, 2, output);
    });

  it('the error for a folder that was given instead of a file says that it is a folder', async () => {
    for (const words of [
      ['policy', 'fmt', folder],
      ['trust', 'archive', 'verify', folder],
      ['policy', 'import', '--from', 'containers', join(folder, 'cosign.pub', 'x')],
    ]) {
      const { code, output } = await run(...words);
      assert.match(output, /is not a (?:regular )?file|it is a folder|a part of its path is not a folder/u);
      assert.doesNotMatch(output, /EISDIR|ENOTDIR/u);
      assert.equal(code, 2, output);
    }
  });

  it('the error for a file that was given instead of a folder says that it is not a folder', async () => {
    const file = at('cosign.pub');
    for (const words of [
      ['network', 'ls', '--conf-dir', file],
      ['trust', 'init', '--dir', file, 'app'],
      ['trust', 'list', '--dir', file, 'app'],
      ['cni', 'install', '--bin-dir', file],
    ]) {
      const { code, output } = await run(...words);
      assert.match(output, /cosign\.pub[^;]*: (?:it, or )?a part of its path,? is not a folder/u);
      assert.doesNotMatch(output, /EEXIST|ENOTDIR/u);
      assert.notEqual(code, 0);
    }
  });

  it('a file that exists is not overwritten, and the error says so', async () => {
    for (const words of [
      ['policy', 'init', at('cosign.pub')],
      ['entitlements', 'init', at('cosign.pub')],
    ]) {
      const { code, output } = await run(...words);
      assert.match(output, /it exists already, and nothing is overwritten/u);
      assert.doesNotMatch(output, /EEXIST/u);
      assert.equal(code, 2, output);
    }
  });
});

it('an image that the policy denies: 1; an image that does not exist: 4', async () => {
  assert.equal((await run('images', 'pull', 'denied')).code, 1);
  assert.equal((await run('images', 'inspect', 'none')).code, 4);
  assert.equal((await run('exec', 'none', 'id')).code, 4);
});

it('a signal ends a command that waits', { timeout: 60_000 }, async () => {
  const asked = new Promise<void>((resolve) => {
    listing = resolve;
  });
  const [program = '', ...words] = portcullisCommand;
  const child = spawn(program, [...words, 'images', 'ls'], { stdio: 'ignore', env: environment() });
  await asked;
  child.kill('SIGINT');
  assert.deepEqual(await once(child, 'exit'), [null, 'SIGINT']);
});

it('the code of an error takes precedence over its kind, and an answer of a command over both', () => {
  const error = (code: string, kind: 'unavailable' | 'denied' | 'invalid'): PortcullisError =>
    new PortcullisError({ code, kind, attempted: 'a', on: 'b', why: 'c', fix: 'd' });
  assert.equal(exitCodeOf(error('DISTRIBUTION_UNAUTHORIZED', 'denied')), 3);
  assert.equal(exitCodeOf(error('TRUST_SERVICE_LISTEN', 'unavailable')), 4);
  assert.equal(exitCodeOf(error('NETWORK_NOT_ROOT', 'denied')), 4);
  assert.equal(exitCodeOf(error('RUNTIME_X', 'denied')), 1);
  assert.equal(exitCodeOf(error('STORAGE_IO', 'unavailable')), 4);
  assert.equal(exitCodeOf(error('X', 'invalid'), [{ codes: /^X$/u, exit: 1 }]), 1);
});

it('docs/exit-codes.md and --help list the same codes', async () => {
  const document = await readFile(join(import.meta.dirname, '../../docs/exit-codes.md'), 'utf8');
  const documented = [
    ...document.slice(0, document.indexOf('The code of an error')).matchAll(/^\| (\d) +\|/gmu),
  ].map(([, code]) => code);
  const helped = [...exitCodesHelp.matchAll(/^ {2}(\d) /gmu)].map(([, code]) => code);
  assert.deepEqual(
    [documented, helped],
    [
      ['0', '1', '2', '3', '4'],
      ['0', '1', '2', '3', '4'],
    ],
  );
});

it(
  'an archive that does not fit on the disk is no damaged archive',
  { skip: process.getuid?.() === 0 ? false : 'needs root, for a small file system' },
  async () => {
    const blob = `blobs/sha256/${'0'.repeat(64)}`;
    await mkdir(at('large/blobs/sha256'), { recursive: true });
    await writeFile(at(`large/${blob}`), Buffer.alloc(2 ** 20));
    execFileSync('tar', ['--format=ustar', '-C', at('large'), '-cf', at('large.tar'), blob]);
    await mkdir(at('small'));
    const script = 'mount -t tmpfs -o size=256k none "$0" && TMPDIR="$0" exec "$@"';
    const words = [...portcullisCommand, 'trust', 'archive', 'verify', at('large.tar')];
    const ended = await runProgram('unshare', ['-m', 'sh', '-c', script, at('small'), ...words], {
      ...environment(),
    });
    assert.match(ended.output, /unpack archive .*STORAGE_DISK_FULL/su);
    assert.doesNotMatch(ended.output, /TRUST_ARCHIVE_DAMAGED/u);
    assert.equal(ended.code, 4, ended.output);
  },
);
