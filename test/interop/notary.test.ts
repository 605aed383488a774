/**
 * The real `notary` command prints the same for the same script with our trust service and Debian's
 * notary-server.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startTrustService } from '../../trust/notary/index.ts';
import { makeCertificate } from '../fixtures/certificate.ts';
import { notary, notaryCommand, notaryServer, startNotaryServer } from '../fixtures/notary.ts';

const gun = 'registry.example.com/pay/app';
const skip = notaryCommand.skip || notaryServer.skip;

/**
 * The actions of three users, each with a private home. `KEY:…` is the id of a key created in the run,
 * `KNOWN` a digest.
 */
const script: readonly (readonly [
  user: 'owner' | 'reader' | 'delegate' | 'heir',
  words: readonly string[],
])[] = [
  ['owner', ['list', gun]],
  ['owner', ['init', '-p', gun]],
  ['reader', ['list', gun]],
  ['owner', ['add', gun, '1.0', 'FOLDER/one']],
  ['owner', ['add', gun, 'removed', 'FOLDER/one']],
  ['owner', ['status', gun]],
  ['owner', ['publish', gun]],
  ['owner', ['status', gun]],
  ['owner', ['remove', '-p', gun, 'removed']],
  ['owner', ['addhash', '-p', gun, '1.1', '5', '--sha256', 'KNOWN']],
  ['owner', ['add', '-p', '--custom', 'FOLDER/custom.json', gun, '1.2', 'FOLDER/two']],
  ['reader', ['list', gun]],
  ['reader', ['lookup', gun, '1.0']],
  ['reader', ['lookup', gun, 'removed']],
  ['reader', ['verify', gun, '1.0', '-i', 'FOLDER/one', '-q']],
  ['reader', ['verify', gun, '1.0', '-i', 'FOLDER/two', '-q']],
  ['owner', ['delegation', 'add', '-p', gun, 'targets/releases', 'FOLDER/alice.pem', '--all-paths']],
  [
    'owner',
    [
      'delegation',
      'add',
      '-p',
      gun,
      'targets/team',
      'FOLDER/bob.pem',
      'FOLDER/alice.pem',
      '--paths',
      'team/,1.',
    ],
  ],
  ['owner', ['delegation', 'list', gun]],
  ['delegate', ['key', 'import', 'FOLDER/alice.key', '--role', 'targets/releases']],
  ['delegate', ['key', 'list']],
  ['delegate', ['add', '-p', '-r', 'targets/releases', gun, '2.0', 'FOLDER/two']],
  ['delegate', ['reset', '--all', gun]],
  ['delegate', ['add', '-p', '-r', 'targets/nobody', gun, '2.1', 'FOLDER/two']],
  ['delegate', ['reset', '--all', gun]],
  ['reader', ['list', gun]],
  ['reader', ['list', '-r', 'targets/team', gun]],
  // A publication of a delegate needs a snapshot, so that the service takes over the snapshot key.
  ['owner', ['key', 'rotate', gun, 'snapshot', '-r']],
  ['delegate', ['add', '-p', '-r', 'targets/releases', gun, '2.0', 'FOLDER/two']],
  ['delegate', ['add', '-p', '-r', 'targets/team', gun, 'team/a', 'FOLDER/one']],
  ['delegate', ['add', '-p', '-r', 'targets/team', gun, 'elsewhere', 'FOLDER/one']],
  ['delegate', ['reset', '--all', gun]],
  ['reader', ['list', gun]],
  ['reader', ['list', '-r', 'targets/team', gun]],
  ['reader', ['lookup', gun, '2.0']],
  ['delegate', ['witness', '-p', gun, 'targets/releases']],
  ['owner', ['witness', '-p', gun, 'targets']],
  ['owner', ['delegation', 'remove', '-p', '-y', gun, 'targets/team', 'KEY:alice']],
  ['owner', ['delegation', 'purge', '-p', gun, '--key', 'KEY:alice']],
  ['owner', ['delegation', 'list', gun]],
  ['owner', ['delegation', 'remove', '-p', '-y', gun, 'targets/team']],
  ['reader', ['list', gun]],
  ['owner', ['key', 'rotate', gun, 'targets']],
  ['owner', ['key', 'rotate', gun, 'timestamp', '-r']],
  ['owner', ['key', 'rotate', gun, 'timestamp']],
  ['owner', ['key', 'rotate', gun, 'snapshot']],
  ['owner', ['key', 'rotate', gun, 'root']],
  ['owner', ['add', '-p', gun, '3.0', 'FOLDER/two']],
  ['reader', ['list', gun]],
  ['owner', ['key', 'generate', 'ecdsa', '--role', 'root']],
  ['owner', ['key', 'generate', 'ecdsa', '--role', 'targets/carol', '--output', 'HOME/carol']],
  ['owner', ['key', 'export', '-o', 'HOME/all.pem']],
  ['delegate', ['key', 'import', 'HOME/../owner/all.pem']],
  ['delegate', ['key', 'list']],
  ['owner', ['key', 'passwd', 'KEY:targets']],
  ['owner', ['key', 'list']],
  ['owner', ['lookup', gun, '3.0']],
  // A user who imported the owner's keys has the rights of the owner, and can create collections with the
  // same root.
  ['heir', ['key', 'import', 'HOME/../owner/all.pem']],
  ['heir', ['add', '-p', gun, '4.0', 'FOLDER/one']],
  ['heir', ['key', 'rotate', gun, 'targets']],
  ['owner', ['key', 'export', '--key', 'KEY:root', '-o', 'HOME/root.pem']],
  ['heir', ['init', '-p', '--rootkey', 'HOME/../owner/root.pem', `${gun}/second`]],
  ['heir', ['add', '-p', `${gun}/second`, '1.0', 'FOLDER/one']],
  ['reader', ['list', `${gun}/second`]],
  ['heir', ['key', 'remove', 'KEY:second']],
  ['heir', ['key', 'list']],
  ['reader', ['list', gun]],
  // The service signs snapshots again. Paths of a delegation are added and removed.
  ['heir', ['key', 'rotate', gun, 'snapshot', '-r']],
  ['heir', ['delegation', 'add', '-p', gun, 'targets/releases', 'FOLDER/bob.pem', '--paths', 'rel/']],
  ['heir', ['delegation', 'add', '-p', gun, 'targets/releases', '--paths', 'more/']],
  ['heir', ['delegation', 'remove', '-p', '-y', gun, 'targets/releases', '--paths', 'rel/']],
  ['heir', ['delegation', 'list', gun]],
  ['heir', ['add', gun, 'dropped', 'FOLDER/one']],
  ['heir', ['add', gun, 'kept', 'FOLDER/one']],
  ['heir', ['reset', '-n', '0', gun]],
  ['heir', ['status', gun]],
  ['heir', ['publish', gun]],
  ['reader', ['list', gun]],
  // A second initialization has another root, which no client trusts.
  ['owner', ['delete', gun]],
  ['owner', ['init', '-p', gun]],
  ['owner', ['list', gun]],
  ['owner', ['delete', '--remote', gun]],
  ['reader', ['list', gun]],
  ['reader', ['list', 'registry.example.com/nothing']],
];

describe('the notary command', { skip }, () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-notary-'));
    for (const name of ['alice', 'bob']) makeCertificate(folder, name, { days: 900 });
    writeFileSync(join(folder, 'one'), 'one\n');
    writeFileSync(join(folder, 'two'), 'two\n');
    writeFileSync(join(folder, 'custom.json'), '{"note":"ünï"}');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('reports the same for our service and for notary-server, through every operation', async () => {
    const theirs = await startNotaryServer(join(folder, 'server'));
    const ours = await startTrustService({ listen: '127.0.0.1:0', data: join(folder, 'data') });
    try {
      const [expected, actual] = await Promise.all([
        play(folder, theirs.url, 'theirs'),
        play(folder, ours.url, 'ours'),
      ]);
      for (const [index, line] of expected.entries()) assert.equal(actual[index], line);
      // Nearly all steps succeed, so that the script reaches the operations under test.
      assert.ok(
        expected.filter((said) => said.includes('exit 0')).length > script.length * 0.7,
        expected.join('\n'),
      );
    } finally {
      await ours.close();
      await theirs.close();
    }
  });
});

/** Runs the script. Returns the output of each step, without parts that differ between runs. */
async function play(folder: string, service: string, name: string): Promise<string[]> {
  const said: string[] = [];
  const homeOf = (user: string): string => join(folder, name, user);
  for (const [user, step] of script) {
    const home = homeOf(user);
    const words = step.map((word) => {
      if (word === 'KEY:alice') return aliceId(homeOf('delegate'));
      if (word === 'KEY:root') return keyOf(home, 'role: root\n');
      if (word === 'KEY:targets') return keyOf(home, 'role: targets\n');
      if (word === 'KEY:second') return keyOf(home, 'role: targets\n', `gun: ${gun}/second\n`);
      if (word === 'KNOWN') return digests[2] ?? '';
      return word.replace('FOLDER', folder).replace('HOME', home);
    });
    const { code, stdout, stderr } = await notary(service, home, words);
    said.push(
      [
        `$ ${user}: ${step.join(' ')}`,
        normalised(stdout, service, folder, name),
        normalised(stderr, service, folder, name),
        `exit ${code}`,
      ].join('\n'),
    );
  }
  return said;
}

const digests = ['one\n', 'two\n', 'known'].map((content) =>
  createHash('sha256').update(content).digest('hex'),
);

/** The ids of created keys, and their order in lists, differ between runs. */
function normalised(text: string, service: string, folder: string, name: string): string {
  return (
    text
      .replaceAll(service, 'SERVICE')
      .replaceAll(new URL(service).host, 'HOST')
      .replaceAll(join(folder, name), 'HOMES')
      .replaceAll(/time="[^"]*"/gu, 'time')
      .replaceAll(/\b[0-9a-f]{64}\b/gu, (id) => (digests.includes(id) ? id : 'ID'))
      .replaceAll(/\.\.\.\S+\/private\b/gu, 'FOLDER')
      .replaceAll(/\b[0-9a-f]{6,40}\.\.\./gu, 'ID')
      // The order in which the two hashes of a target are compared is random.
      .replaceAll(/sha(?:256|512) (checksum for \S+ did not match): expected \S+/gu, '$1')
      .replaceAll(/ +/gu, ' ')
      .split('\n')
      .sort()
      .join('\n')
  );
}

interface KeyFile {
  readonly id: string;
  readonly text: string;
}

function keyFiles(home: string): KeyFile[] {
  return readdirSync(join(home, 'private'))
    .filter((file) => file.endsWith('.key'))
    .map((file) => ({
      id: file.slice(0, -'.key'.length),
      text: readFileSync(join(home, 'private', file), 'utf8'),
    }));
}

/** Returns the id under which the certificate of alice is listed, the only one imported under this role. */
function aliceId(home: string): string {
  return keyFiles(home).find(({ text }) => text.includes('targets/releases'))?.id ?? '';
}

/** Returns a key with these headers. */
function keyOf(home: string, ...headers: readonly string[]): string {
  return keyFiles(home).find(({ text }) => headers.every((header) => text.includes(header)))?.id ?? '';
}
