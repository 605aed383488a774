import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { isPortcullisError } from '../base/errors/index.ts';
import { findPodNetwork, networksIn } from '../cni-plugins/index.ts';
import { loadDaemonConfig } from '../runtime/index.ts';
import { loadPolicy } from '../trust/index.ts';
import { asNobody } from '../test/fixtures/as-nobody.ts';
import { commandFile } from '../test/fixtures/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-setup-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Place {
  readonly at: string;
  readonly config: string;
  /** The flags that keep a run within the place. */
  readonly flags: readonly string[];
  setup(...args: string[]): Ended;
  /** Returns every file with its content. */
  files(): Record<string, string>;
}

function place(name: string): Place {
  const at = join(folder, name);
  mkdirSync(at);
  const config = join(at, 'etc/config.yaml');
  const flags = [
    '--config',
    config,
    '--policy',
    join(at, 'etc/policy'),
    '--cni-conf-dir',
    join(at, 'net.d'),
    '--root',
    join(at, 'root'),
  ];
  const environment = { ...process.env, PORTCULLIS_PASSPHRASE: 'open sesame' };
  return {
    at,
    config,
    flags,
    setup: (...args) =>
      spawnSync(process.execPath, [commandFile, 'setup', ...flags, ...args], {
        cwd: at,
        encoding: 'utf8',
        env: environment,
        input: '',
      }),
    files: () =>
      Object.fromEntries(
        readdirSync(at, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => join(entry.parentPath, entry.name))
          .map((file) => [file.slice(at.length + 1), readFileSync(file, 'utf8')]),
      ),
  };
}

interface Shown {
  readonly written: boolean;
  readonly files: readonly { readonly path: string; readonly state: string; readonly content?: string }[];
  readonly next: readonly string[];
}

const shown = ({ stdout, stderr }: Ended): Shown => {
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as Shown;
};

describe('portcullis setup', () => {
  const node = place('node');

  test('without a terminal and --yes shows each file, writes nothing, and fails', () => {
    const { status, stdout, stderr } = node.setup('--images', 'r.example/team/**');
    assert.deepEqual([status, node.files()], [2, {}], stderr);
    assert.match(
      stdout,
      /etc\/policy\/policy\.yaml {3}\(trust policy, mode 0644\)\n[^]*images: \[ "r\.example\/team\/\*\*" \]/u,
    );
    assert.match(stdout, /net\.d\/50-pods\.conflist[^]*"subnet": "/u);
    assert.match(stderr, /give --yes .*\[CLI_SETUP_UNCONFIRMED\]/u);
  });

  test('--dry-run --output json has the content of each file, and --yes writes exactly that', async () => {
    const args = ['--images', 'r.example/team/**', '--key', 'cosign', '--output', 'json'];
    const planned = node.setup('--dry-run', ...args);
    assert.deepEqual([planned.status, node.files()], [0, {}], planned.stderr);
    const done = node.setup('--yes', ...args);
    assert.deepEqual([done.status, shown(done).written], [0, true], done.stderr);
    const written = node.files();
    for (const { path, state, content } of shown(planned).files) {
      assert.equal(state, 'new');
      if (content !== undefined) assert.equal(written[path.slice(node.at.length + 1)], content, path);
    }
    assert.equal(Object.keys(written).length, shown(planned).files.length);
    assert.equal(statSync(join(node.at, 'cosign.key')).mode & 0o777, 0o600);
    assert.equal(written['etc/policy/cosign.pub'], written['cosign.pub']);
    assert.deepEqual((await loadPolicy({ paths: [join(node.at, 'etc/policy')] })).policy.rules[0]?.images, [
      'r.example/team/**',
    ]);
    const settings = await loadDaemonConfig({ file: node.config });
    assert.equal(settings.cni.confDir, join(node.at, 'net.d'));
    const source = {
      databasePath: join(node.at, 'none'),
      confDir: settings.cni.confDir,
      choice: { plugins: 'auto', maxConfigs: 1 },
    } as const;
    assert.equal(findPodNetwork(source)?.name, 'pods');
  });

  test('a repeated run keeps every file, and one after a failure completes what is missing', () => {
    const before = node.files();
    const args = ['--yes', '--key', 'cosign', '--output', 'json'];
    const again = node.setup(...args);
    assert.deepEqual([again.status, node.files()], [0, before], again.stderr);
    assert.ok(shown(again).files.every(({ state }) => state === 'kept'));
    for (const lost of ['cosign.pub', 'etc/policy/cosign.pub', 'etc/policy/policy.yaml'])
      rmSync(join(node.at, lost));
    const completed = node.setup(...args, '--images', 'r.example/team/**');
    assert.deepEqual([completed.status, node.files()], [0, before], completed.stderr);
  });

  test('a kept policy that is not valid is reported as left to do', () => {
    const other = place('other');
    mkdirSync(join(other.at, 'etc/policy'), { recursive: true });
    writeFileSync(
      join(other.at, 'etc/policy/p.yaml'),
      'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: p }\nentitlements: [security.confined]\n',
    );
    const { next } = shown(other.setup('--yes', '--no-network', '--output', 'json'));
    assert.match(next.join('\n'), /the policy: it is not valid.*portcullis policy check .*etc\/policy$/u);
  });

  test('a subnet for a network that exists already is refused', () => {
    const { status, stderr } = node.setup('--yes', '--subnet', '192.0.2.0/24');
    assert.equal(status, 4);
    assert.match(
      stderr,
      /50-pods\.conflist already, and nothing is overwritten.*\[CLI_SETUP_NETWORK_EXISTS\]/su,
    );
  });

  test('settings that the kept configuration does not have are refused', () => {
    const before = node.files();
    const { status, stderr } = node.setup('--yes', '--log-level', 'debug');
    assert.deepEqual([status, node.files()], [4, before]);
    assert.match(
      stderr,
      /config\.yaml: it exists with other values than .*--log-level.*\[CLI_SETUP_CONFIG_DIFFERS\]/u,
    );
  });

  test('a key pair that the kept policy does not trust is refused', () => {
    const before = node.files();
    const { status, stderr } = node.setup('--yes', '--key', 'other');
    assert.deepEqual([status, node.files()], [4, before]);
    assert.match(
      stderr,
      /etc\/policy\/cosign\.pub: it exists and is not .*other\.pub.*\[CLI_SETUP_KEY_DIFFERS\]/u,
    );
  });

  const wrong = place('wrong');
  for (const [args, code] of [
    [['--images', 'a"b/**'], 'TRUST_IMAGE_PATTERN_INVALID'],
    [['--subnet', '198.51.100.1/24'], 'NETWORK_CONFLIST_INVALID'],
    [['--subnet', '127.0.0.0/16'], 'NETWORK_SUBNET_TAKEN'],
    [['--key', 'none/cosign'], 'CLI_SETUP_NO_ACCESS'],
    [['--key', 'keys/'], 'CLI_SETUP_INVALID'],
    [['--key', 'cosign', '--passphrase-file', 'none'], 'TRUST_PASSPHRASE_UNREADABLE'],
    [['--log-level', 'loud'], 'CONFIG_INVALID'],
  ] as const)
    test(`${args.join(' ')} is refused with ${code}, and nothing is written`, () => {
      const { status, stderr } = wrong.setup('--yes', ...args);
      assert.notEqual(status, 0);
      assert.ok(stderr.includes(`[${code}]`), stderr);
      assert.deepEqual(wrong.files(), {});
    });

  test('a file with a passphrase is wrong use without a key to make', () => {
    const { status, stderr } = wrong.setup('--yes', '--passphrase-file', 'none');
    assert.match(stderr, /^error: --passphrase-file goes with --key PREFIX\n/u);
    assert.deepEqual([status, wrong.files()], [2, {}]);
  });

  test('a user without access to the folders gets an error before anything is written', () => {
    const denied = place('denied');
    for (const path of [folder, denied.at]) chmodSync(path, 0o755);
    const [program, ...words] = asNobody;
    const command = [...words, process.execPath, commandFile, 'setup', ...denied.flags, '--yes'];
    const { status, stderr } = spawnSync(program, command, { cwd: '/', encoding: 'utf8' });
    assert.deepEqual([status, denied.files()], [4, {}]);
    assert.match(
      stderr,
      /: its folder \S+ cannot be written: this user has no permission; run the command as/u,
    );
    assert.match(stderr, /run the command as root; nothing was written \[CLI_SETUP_NO_ACCESS\]/u);
  });

  test('a user who names a folder that does not exist is not sent to root', () => {
    const absent = place('absent');
    for (const path of [folder, absent.at]) chmodSync(path, 0o777);
    const [program, ...words] = asNobody;
    const command = [...words, process.execPath, commandFile, 'setup', ...absent.flags, '--yes'];
    const named = [...command, '--key', join(absent.at, 'none/cosign')];
    const { status, stderr } = spawnSync(program, named, { cwd: '/', encoding: 'utf8' });
    assert.deepEqual([status, absent.files()], [4, {}]);
    assert.match(stderr, /none cannot be written: it does not exist; make \S+none a folder/u);
    assert.doesNotMatch(stderr, /ENOENT|root/u);
  });

  test('a write that fails leaves complete files, and the next run completes them', () => {
    const full = place('full');
    // The schema is the only file of more than 16 KiB.
    const words = ['--fsize=16384', process.execPath, commandFile, 'setup', ...full.flags, '--yes'];
    const failed = spawnSync('prlimit', words, {
      cwd: full.at,
      encoding: 'utf8',
      env: { ...process.env, NODE_COMPILE_CACHE: '' },
    });
    assert.notEqual(failed.status, 0);
    assert.deepEqual(Object.keys(full.files()), ['net.d/50-pods.conflist'], failed.stderr);
    assert.equal(full.setup('--yes').status, 0);
    assert.equal(Object.keys(full.files()).length, 4);
  });

  test('asks on a terminal, and writes only after a yes that was given after the files were shown', async () => {
    const asked = place('asked');
    const answers = ['r.example/one/**', 'pair', '198.51.100.0/24'];
    assert.match(
      await onTerminal(asked, [...answers, 'y'], 'n'),
      /Write these files\? \[y\/N\][^]*nothing was written/u,
    );
    assert.deepEqual(asked.files(), {});
    assert.match(await onTerminal(asked, answers, 'y'), /written +\S+pair\.key/u);
    const files = asked.files();
    assert.match(files['etc/policy/policy.yaml'] ?? '', /images: \[ "r\.example\/one\/\*\*" \]/u);
    assert.match(files['net.d/50-pods.conflist'] ?? '', /"198\.51\.100\.0\/24"/u);
  });

  test('asks again after a wrong answer, says why, and drops what was typed ahead', async () => {
    const asked = place('corrected');
    const dialog = onTerminalEach(asked, [
      ['may run once', ['https://r.example/two', 'typed-ahead']],
      ['may run once', ['r.example/two/**']],
      ['Key pair', ['no folder/pair']],
      ['Key pair', ['pair']],
      ['Subnet', ['10.0.0.0/33']],
      ['Subnet', ['198.51.100.0/24']],
      ['Write these files', ['y']],
    ]);
    assert.match(await dialog, /written +\S+pair\.key/u);
    const files = asked.files();
    assert.match(files['etc/policy/policy.yaml'] ?? '', /images: \[ "r\.example\/two\/\*\*" \]/u);
    assert.match(files['net.d/50-pods.conflist'] ?? '', /"198\.51\.100\.0\/24"/u);
  });
});

/**
 * Runs setup on a pseudo-terminal. `early` is typed at once, `last` when the command asks for a confirmation.
 */
function onTerminal(at: Place, early: readonly string[], last: string): Promise<string> {
  return onTerminalEach(at, [
    ['', early],
    ['Write these files?', [last]],
  ]);
}

/** Runs setup on a pseudo-terminal, and types the lines of each answer once its question was asked. */
async function onTerminalEach(
  { at, flags }: Place,
  answers: readonly (readonly [question: string, lines: readonly string[]])[],
): Promise<string> {
  const command = [process.execPath, commandFile, 'setup', ...flags].map((word) => `'${word}'`).join(' ');
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: at,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, PORTCULLIS_PASSPHRASE: 'open sesame' },
  });
  const left = [...answers];
  let said = '';
  let fresh = '';
  const answer = (): void => {
    for (let next = left[0]; next !== undefined && fresh.includes(next[0]); next = left[0]) {
      // The terminal repeats a question for each key that is typed.
      fresh = '';
      left.shift();
      child.stdin.write(next[1].map((each) => `${each}\n`).join(''));
    }
  };
  answer();
  for await (const chunk of child.stdout) {
    said += String(chunk);
    fresh += String(chunk);
    answer();
  }
  return said;
}

/** Runs a command in a network namespace of its own, after these calls of ip(8). */
function inNamespace(calls: readonly string[], command: readonly string[]): Ended {
  const script = [...calls.map((call) => `ip ${call}`), 'exec "$@"'].join(' && ');
  return spawnSync('unshare', ['--net', 'sh', '-c', script, 'sh', ...command], { encoding: 'utf8' });
}

test('the subnet of the pods overlaps no address and no route of the host', () => {
  const host = place('host');
  const setup = [process.execPath, commandFile, 'setup', ...host.flags, '--dry-run', '--output', 'json'];
  const calls = [
    'link add d0 type bridge',
    'addr add 10.210.7.1/24 dev d0',
    'link set d0 up',
    'route add 10.211.0.0/16 dev d0',
  ];
  const subnetOf = (ended: Ended): string | undefined =>
    /"subnet": "([^"]+)"/u.exec(
      shown(ended).files.find(({ path }) => path.endsWith('.conflist'))?.content ?? '',
    )?.[1];
  assert.equal(subnetOf(inNamespace(calls, setup)), '10.212.0.0/16');
  // A default route says nothing, and a VPN may route a whole private block.
  const vpn = [
    ...calls,
    'route add default dev d0',
    'route add 0.0.0.0/1 dev d0',
    'route add 10.0.0.0/8 dev d0',
  ];
  assert.equal(subnetOf(inNamespace(vpn, setup)), '172.20.0.0/16');
  const taken = inNamespace(vpn, [...setup, '--subnet', '10.99.0.0/16']);
  assert.match(taken.stderr, /the route to 10\.0\.0\.0\/8 by the link d0 overlaps it/u);
  const all = [...vpn, 'route add 172.16.0.0/12 dev d0', 'route add 192.168.0.0/16 dev d0'];
  assert.match(inNamespace(all, setup).stderr, /NETWORK_NO_FREE_SUBNET/u);
});

test('the error for a folder without a network names a command that repairs it', () => {
  const confDir = join(folder, 'no net.d');
  const choice = { plugins: 'auto', maxConfigs: 1 } as const;
  assert.throws(
    () => networksIn(confDir, choice),
    (thrown) => {
      assert.ok(isPortcullisError(thrown));
      const [, command = ''] = /`portcullis (network create [^`]+)`/u.exec(thrown.failure.fix) ?? [];
      const words = `${process.execPath} ${commandFile} ${command} --root ${join(folder, 'root')}`;
      const ran = spawnSync('unshare', ['--net', 'sh', '-c', words], { encoding: 'utf8' });
      assert.equal(ran.status, 0, ran.stderr);
      return thrown.code === 'NETWORK_NO_CONFLIST';
    },
  );
  assert.equal(networksIn(confDir, choice).networks[0]?.name, 'pods');
});
