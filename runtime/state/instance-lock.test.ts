import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { processIdentity } from '../../base/process/index.ts';
import { claimFolders } from './instance-lock.ts';

interface Folders {
  readonly root: string;
  readonly state: string;
}

function foldersOf(t: TestContext): Folders {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-claim-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const folders = { root: join(folder, 'root'), state: join(folder, 'state') };
  for (const path of Object.values(folders)) mkdirSync(path);
  return folders;
}

interface Claimer {
  readonly child: ChildProcess;
  /** Makes it claim the folders now, and returns the result. */
  claim(): Promise<string>;
}

/** Starts a process that claims the folders on request, and keeps them until it is killed. */
async function claimer(t: TestContext, folders: Folders): Promise<Claimer> {
  const source = `import { claimFolders } from ${JSON.stringify(import.meta.resolve('./instance-lock.ts'))};
    process.stdin.once('data', () => claimFolders(${JSON.stringify(folders)}).then(() => console.log('mine'), (error) => console.log(error.code ?? String(error))));
    console.log('ready');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'ready');
  return {
    child,
    claim: async () => {
      child.stdin.write('now\n');
      return String((await lines.next()).value);
    },
  };
}

test('if several daemons start at the same time, only one of them starts', async (t) => {
  const folders = foldersOf(t);
  for (let round = 0; round < 3; round += 1) {
    const claimers = await Promise.all(Array.from({ length: 4 }, () => claimer(t, folders)));
    const outcomes = await Promise.all(claimers.map((one) => one.claim()));
    assert.deepEqual(
      outcomes.toSorted(),
      [...Array<string>(3).fill('RUNTIME_ROOT_IN_USE'), 'mine'],
      `round ${round}`,
    );
    await Promise.all(
      claimers.map(async ({ child }) => {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }),
    );
  }
});

for (const shared of ['root', 'state'] as const)
  test(`a second daemon on the ${shared} folder of a running daemon is refused, and the error names the process`, async (t) => {
    const folders = foldersOf(t);
    const other = await claimer(t, { ...foldersOf(t), [shared]: folders[shared] });
    assert.equal(await other.claim(), 'mine');
    await assert.rejects(claimFolders(folders), {
      code: 'RUNTIME_ROOT_IN_USE',
      message: new RegExp(`process ${other.child.pid} uses it`),
    });
    other.child.kill('SIGKILL');
    await once(other.child, 'exit');
    (await claimFolders(folders))();
  });

test('a released claim can be taken again, and writes only the process into the root', async (t) => {
  const folders = foldersOf(t);
  for (let round = 0; round < 2; round += 1) {
    const release = await claimFolders(folders);
    await assert.rejects(claimFolders(folders), { code: 'RUNTIME_ROOT_IN_USE' });
    assert.deepEqual([readdirSync(folders.root), readdirSync(folders.state)], [['daemon.json'], []]);
    release();
    assert.deepEqual(readdirSync(folders.root), []);
  }
});

test('root and state may be one folder', async (t) => {
  const { root } = foldersOf(t);
  (await claimFolders({ root, state: root }))();
});

test('a copy of the root of a running daemon is refused until that daemon has ended', async (t) => {
  const original = foldersOf(t);
  const daemon = await claimer(t, original);
  assert.equal(await daemon.claim(), 'mine');
  const copy = foldersOf(t);
  cpSync(original.root, copy.root, { recursive: true });
  await assert.rejects(claimFolders(copy), {
    code: 'RUNTIME_ROOT_IN_USE',
    message: new RegExp(`process ${daemon.child.pid} uses it, or the folder of which it is a copy`),
  });
  daemon.child.kill('SIGKILL');
  await once(daemon.child, 'exit');
  (await claimFolders(copy))();
});

test('a claim succeeds if the file cannot be written', async (t) => {
  const folders = foldersOf(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,nr_inodes=1', 'tmpfs', folders.root]);
  try {
    const release = await claimFolders(folders);
    assert.deepEqual(readdirSync(folders.root), []);
    release();
  } finally {
    execFileSync('umount', [folders.root]);
  }
});

for (const [what, text] of [
  ['a process that is gone', JSON.stringify({ ...processIdentity(1), startTime: '1' })],
  ['a machine that lost power while it was written', ''],
  ['a disk that damaged it', 'null'],
  ['a disk that damaged its fields', '{"pid":"1"}'],
] as const)
  test(`the file of ${what} is ignored and replaced`, async (t) => {
    const folders = foldersOf(t);
    writeFileSync(join(folders.root, 'daemon.json'), text);
    writeFileSync(join(folders.root, '.daemon.json.0123456789ab.tmp'), '{');
    const release = await claimFolders(folders);
    assert.deepEqual(readdirSync(folders.root), ['daemon.json']);
    const written = readFileSync(join(folders.root, 'daemon.json'), 'utf8');
    assert.deepEqual(JSON.parse(written), processIdentity(process.pid));
    release();
  });
