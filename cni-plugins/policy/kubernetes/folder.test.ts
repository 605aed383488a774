import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openPolicyFolder } from './folder.ts';
import type { PolicyFolder } from './folder.ts';
import type { PolicySet } from './network-policy.ts';

/** Real files, and the thread that reads them. */

const policy = (name: string, more = ''): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: { podSelector: {}${more} }\n`;
const none = 'apiVersion: v1\nkind: List\nitems: []\n';
const quietMs = 60;

let root: string;
let folder: string;
let storedAt: string;
let opened: PolicyFolder | undefined;
let set: PolicySet;
const logged: string[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'portcullis-policies-'));
  folder = join(root, 'policies');
  storedAt = join(root, 'state', 'policies');
  mkdirSync(folder);
  logged.length = 0;
});
afterEach(() => {
  opened?.close();
  rmSync(root, { recursive: true, force: true });
});

const open = async (): Promise<void> => {
  opened?.close();
  const log = {
    info: () => undefined,
    error: (fields: object, message: string) => void logged.push(`${message} ${JSON.stringify(fields)}`),
  };
  opened = await openPolicyFolder({ folder, storedAt, log, quietMs });
  set = opened.current();
};
const names = (): string => {
  set = opened?.current() ?? set;
  return [
    ...set.policies.map(({ name }) => name),
    ...(set.isolated === undefined ? [] : [`(${set.isolated})`]),
  ].join(' ');
};
const problems = (): string => {
  names();
  return (opened?.report().problems ?? []).join('\n');
};
const becomes = async (found: () => string, wanted: RegExp): Promise<void> => {
  for (const end = performance.now() + 30_000; !wanted.test(found()); await pause(20))
    if (performance.now() > end) assert.match(found(), wanted);
};
/** Longer than any change takes until it is in force. */
const stays = async (wanted: string): Promise<void> => {
  for (const end = performance.now() + 1_000; performance.now() < end; await pause(20))
    assert.equal(names(), wanted);
};
/** Waits until the set in force is on disk. */
const isStored = async (...files: string[]): Promise<void> => {
  const stored = (): string => {
    names();
    try {
      const { files: held } = JSON.parse(readFileSync(storedAt, 'utf8').split('\n')[1] ?? '{}') as {
        files: { name: string }[];
      };
      return held.map(({ name }) => name).join(' ');
    } catch {
      return 'nothing';
    }
  };
  await becomes(stored, new RegExp(`^${files.join(' ')}$`, 'u'));
};
const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

test('for an emptied or invalid file the last valid version stays in force; the problem is reported until the file is valid again', async () => {
  write('a.yaml', policy('a'));
  write('b.yaml', policy('b'));
  await open();
  assert.equal(names(), 'a b');
  for (const text of [
    '',
    '\n \n',
    '# nothing yet\n',
    '---\n',
    'null\n',
    'kind: NetworkPolicy\nspec: [',
    `${policy('c')}---\n---\n${policy('d')}`,
    `${policy('c')}---\nx: [`,
  ]) {
    write('a.yaml', text);
    await becomes(problems, /a\.yaml:\d+:\d+: .*its last good version stays in force/u);
    await stays('a b');
    assert.equal(logged.filter((line) => line.includes('a.yaml')).length > 0, true);
    write('a.yaml', policy('a'));
    await becomes(problems, /^$/u);
  }
  // The other files stay in force.
  write('a.yaml', '');
  write('b.yaml', policy('other'));
  await becomes(names, /^a other$/u);
  write('a.yaml', none);
  await becomes(names, /^other$/u);
});

test('a file is read once it stops changing: while it keeps changing, its last valid version stays in force', async () => {
  write('a.yaml', policy('a'));
  await open();
  const end = performance.now() + 1_500;
  for (let turn = 0; performance.now() < end; turn += 1) {
    write('a.yaml', policy(`b${turn}`));
    assert.equal(names(), 'a');
    await pause(quietMs / 4);
  }
  await becomes(names, /^b\d+$/u);
});

test('the policies of a removed file end, a renamed file leaves no gap, and the policies of a broken link stay', async () => {
  write('a.yaml', policy('a'));
  write('b.yaml', policy('b'));
  await open();
  renameSync(join(folder, 'a.yaml'), join(folder, 'z.yaml'));
  for (const end = performance.now() + 1_500; performance.now() < end; await pause(5))
    assert.match(names(), /^(?:a b|b a)$/u);
  await becomes(names, /^b a$/u);
  rmSync(join(folder, 'b.yaml'));
  await becomes(names, /^a$/u);
  rmSync(join(folder, 'z.yaml'));
  symlinkSync(join(root, 'nowhere'), join(folder, 'z.yaml'));
  await becomes(problems, /z\.yaml.*it does not exist/u);
  await stays('a');
  rmSync(join(folder, 'z.yaml'));
  await becomes(names, /^$/u);
  assert.equal(problems(), '');
});

test('if the folder is missing, cannot be listed, or was replaced by an empty one, all policies stay in force, also after a restart', async () => {
  write('a.yaml', policy('a'));
  await open();
  await isStored('a.yaml');
  const ways: readonly (readonly [what: RegExp, way: () => void])[] = [
    [/is gone; the last policies stay/u, () => rmSync(folder, { recursive: true })],
    [
      /cannot be listed: it, or a part of its path, is not a folder/u,
      () => (rmSync(folder, { recursive: true, force: true }), writeFileSync(folder, '')),
    ],
    [
      /is empty, and is not the same folder as before/u,
      () => (rmSync(folder), mkdirSync(join(root, 'new')), renameSync(join(root, 'new'), folder)),
    ],
  ];
  for (const [said, way] of ways) {
    way();
    await becomes(problems, said);
    await stays('a');
    await open();
    assert.equal(names(), 'a');
    assert.match(problems(), said);
  }
  // Stated explicitly, it has no policies.
  write('none.yaml', none);
  await becomes(names, /^$/u);
  assert.equal(problems(), '');
  await isStored('none.yaml');
});

test('a file that is emptied or broken while no daemon runs keeps its last valid version; the policies of a file that is removed meanwhile end', async () => {
  write('a.yaml', policy('a'));
  write('b.yaml', policy('b'));
  await open();
  await isStored('a.yaml', 'b.yaml');
  opened?.close();
  truncateSync(join(folder, 'a.yaml'));
  rmSync(join(folder, 'b.yaml'));
  await open();
  assert.equal(names(), 'a');
  assert.match(problems(), /a\.yaml:1:1: the file is empty.*last good version/u);
  await isStored('a.yaml');
});

test('at the first start, files that cannot be read isolate every pod until they can be read; without a folder, there are no policies', async () => {
  write('a.yaml', policy('a'));
  write('b.yaml', 'null\n');
  await open();
  assert.equal(names(), 'a (NetworkPolicy files that cannot be read)');
  assert.match(problems(), /b\.yaml:1:1: the document is not an object.*nothing of it is in force/u);
  assert.deepEqual(readdirSync(root), ['policies']);
  write('b.yaml', policy('b'));
  await becomes(names, /^a b$/u);
  // From then on a new file that cannot be read changes nothing.
  await isStored('a.yaml', 'b.yaml');
  write('c.yaml', 'kind: [');
  await becomes(problems, /c\.yaml/u);
  await stays('a b');
  opened?.close();
  rmSync(root, { recursive: true });
  await open();
  assert.deepEqual([names(), problems()], ['', '']);
});

test('at the first start, empty files are problems and isolate no pod; an empty file that is added later isolates every pod', async () => {
  write('a.yaml', policy('a'));
  write('none.yaml', '# no policies here\n');
  write('zero.yaml', '');
  write('chart.yaml', '---\n# Source: a.yaml\n---\n# Source: b.yaml\n');
  await open();
  assert.equal(names(), 'a');
  for (const name of ['none', 'zero', 'chart'])
    assert.match(
      problems(),
      new RegExp(`${name}\\.yaml:1:1: the file is empty.*nothing of it is in force`, 'u'),
    );
  await isStored('a.yaml');
  // While a file is broken, its last policies in force are unknown.
  opened?.close();
  rmSync(storedAt);
  write('b.yaml', 'kind: [');
  await open();
  assert.equal(names(), 'a (NetworkPolicy files that cannot be read)');
  write('late.yaml', '');
  await becomes(problems, /late\.yaml/u);
  rmSync(join(folder, 'b.yaml'));
  await becomes(problems, /^(?!.*b\.yaml)/su);
  await stays('a (NetworkPolicy files that cannot be read)');
  rmSync(join(folder, 'late.yaml'));
  await becomes(names, /^a$/u);
});

test('after the first start, a file that is emptied keeps its last valid version, also after a restart', async () => {
  write('a.yaml', policy('a'));
  await open();
  await isStored('a.yaml');
  write('a.yaml', '# emptied\n');
  await becomes(problems, /a\.yaml:1:1: the file is empty.*its last good version stays in force/u);
  await open();
  await stays('a');
});

test('more files or bytes than the limit are a problem that names the limit; the last policies stay, and a first start isolates every pod', async () => {
  write('a.yaml', policy('a'));
  await open();
  await isStored('a.yaml');
  const over: readonly (readonly [said: RegExp, way: () => void])[] = [
    [
      /has more than 4096 files/u,
      () => Array.from({ length: 4096 }, (_, index) => write(`more-${index}.yaml`, policy(`p${index}`))),
    ],
    [
      /has more than 67108864 bytes/u,
      () =>
        ['x', 'y', 'z'].forEach((name) => {
          write(`${name}.yaml`, '');
          truncateSync(join(folder, `${name}.yaml`), 31 * 1024 * 1024);
        }),
    ],
  ];
  for (const [said, way] of over) {
    way();
    write('a.yaml', none);
    await becomes(problems, said);
    await stays('a');
    await open();
    assert.equal(names(), 'a');
    assert.match(problems(), said);
    opened?.close();
    rmSync(storedAt);
    await open();
    assert.match(names(), /^\(NetworkPolicies that were not read yet\)$/u);
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    write('a.yaml', policy('a'));
    await becomes(names, /^a$/u);
    await isStored('a.yaml');
    assert.equal(problems(), '');
  }
});

test('a damaged stored set isolates every pod until the files are read', async () => {
  write('a.yaml', policy('a'));
  await open();
  await isStored('a.yaml');
  const text = readFileSync(storedAt, 'utf8');
  const damages = [
    text.replace('shop', 'shoq'),
    text.slice(0, -20),
    '',
    text.replace(/ 1 sha256/u, ' 2 sha256'),
    '{}\n{}',
  ];
  for (const damaged of damages) {
    opened?.close();
    writeFileSync(storedAt, damaged);
    rmSync(folder, { recursive: true, force: true });
    for (const exists of [false, true]) {
      if (exists) mkdirSync(folder);
      await open();
      assert.match(names(), /^\(NetworkPolicies that are lost\)$/u);
      assert.match(problems(), /is damaged: every pod is isolated/u);
    }
    write('a.yaml', policy('a'));
    await becomes(names, /^a$/u);
    assert.equal(problems(), '');
    await isStored('a.yaml');
  }
  // It says nothing about another folder.
  folder = join(root, 'elsewhere');
  await open();
  assert.equal(names(), '');
});

test('an object that cannot be understood is a problem, and the rest of its file applies', async () => {
  write('a.yaml', `${policy('a')}---\n${policy('b', ', ingres: []')}`);
  await open();
  assert.equal(names(), 'a b');
  assert.match(problems(), /a\.yaml:9:\d+: spec\.ingres: /u);
  assert.deepEqual(
    set.policies.map(({ unreadable }) => unreadable !== undefined),
    [false, true],
  );
});

test('pipes, folders and files that are too large are reported without a wait', async () => {
  write('a.yaml', policy('a'));
  await open();
  await isStored('a.yaml');
  mkdirSync(join(folder, 'folder.yaml'));
  await becomes(problems, /folder\.yaml.*not a regular file/u);
  write('b.yaml', '');
  truncateSync(join(folder, 'b.yaml'), 33 * 1024 * 1024);
  await becomes(problems, /b\.yaml.*larger than/u);
  writeFileSync(join(folder, 'c.yaml'), Buffer.from([0xff, 0xfe, 0x41]));
  await becomes(problems, /c\.yaml.*not UTF-8/u);
  assert.equal(names(), 'a');
});
