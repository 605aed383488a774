import { Command } from 'commander';
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { asNobody } from '../test/fixtures/as-nobody.ts';
import { commands } from './commands.ts';
import { commandTree, helpOf, withSubcommands } from './completion/tree.ts';
import { commandFile } from '../test/fixtures/command.ts';

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function portcullis(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [commandFile, ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

const leavesOf = (command: Command): readonly Command[] =>
  command.commands.length === 0
    ? [command]
    : command.commands.filter((one) => one.name() !== 'help').flatMap(leavesOf);

for (const { name, summary, load } of commands) {
  test(`portcullis ${name}: its module registers it as help says, with -o, --output`, async () => {
    const program = new Command().enablePositionalOptions();
    (await load()).register(program, commands);
    const command = program.commands.find((candidate) => candidate.name() === name);
    assert.ok(command);
    assert.equal(command.description(), summary);
    for (const leaf of leavesOf(command)) {
      assert.ok(
        leaf.options.some((option) => option.long === '--output' && option.short === '-o'),
        `${leaf.name()} -o, --output`,
      );
    }
  });
}

test('--help names every command without loading one', async () => {
  const { code, stdout } = await portcullis('--help');
  assert.equal(code, 0);
  for (const { name } of commands) assert.match(stdout, new RegExp(`^  ${name} `, 'm'));
});

test('no line of help is wider than a terminal, except for examples and defaults', async () => {
  const long = (await commandTree(commands)).flatMap(withSubcommands).flatMap(({ command, words }) =>
    helpOf(command, 80)
      .split('\n')
      .filter((line) => line.length > 80 && !/pkcs11:|"\]?\)$|^ +(?:\$|--)/u.test(line))
      .map((line) => `${words.join(' ')}: ${line}`),
  );
  assert.deepEqual(long, []);
});

test('an option takes the default that its help shows', async () => {
  const refused = (await commandTree(commands)).flatMap(withSubcommands).flatMap(({ command, words }) =>
    command.options.flatMap(({ flags, parseArg, defaultValue, defaultValueDescription }) => {
      if (parseArg === undefined || !['number', 'string'].includes(typeof defaultValue)) return [];
      // An empty default is no value, and the help does not show it.
      if (defaultValue === '') return [];
      try {
        parseArg(defaultValueDescription ?? String(defaultValue), undefined);
        return [];
      } catch (thrown) {
        return [`${words.join(' ')} ${flags}: ${String(thrown)}`];
      }
    }),
  );
  assert.deepEqual(refused, []);
});

const uses: readonly { readonly args: readonly string[]; readonly code: number; readonly says: RegExp }[] = [
  { args: [], code: 2, says: /Usage: portcullis/ },
  { args: ['--version'], code: 0, says: /^\d+\.\d+\.\d+\n$/ },
  { args: ['--version', '-o', 'json'], code: 0, says: /^\{\n {2}"version": "\d+\.\d+\.\d+"\n\}\n$/ },
  { args: ['nope'], code: 2, says: /unknown command 'nope'/ },
  { args: ['constructor'], code: 2, says: /unknown command 'constructor'\n\(see --help\)/ },
  { args: ['pod'], code: 2, says: /Did you mean pods/ },
  { args: ['pull', 'x'], code: 2, says: /\(Did you mean images pull\?\)/ },
  { args: ['rmi', 'x'], code: 2, says: /Did you mean images rm\?/ },
  { args: ['load', '-i', 'x'], code: 2, says: /\(Did you mean images import\?\)/ },
  {
    args: ['proxy', '--backend', 'tcp://127.0.0.1:1', '--policy', 'p'],
    code: 2,
    says: /option '--backend.*must be the path of a unix socket/,
  },
  { args: ['stop', 'x'], code: 2, says: /unknown command 'stop'\n\(use crictl stop\)\n/ },
  { args: ['info'], code: 2, says: /unknown command 'info'\n\(use crictl info\)\n/ },
  { args: ['kill', 'x'], code: 2, says: /unknown command 'kill'\n\(use crictl stop --timeout 0\)\n/ },
  { args: ['generate-key-pair'], code: 2, says: /\(Did you mean sign --generate-key\?\)/ },
  { args: ['verify-attestation', 'x'], code: 2, says: /\(Did you mean verify\?\)/ },
  {
    args: ['login', '-o', 'json'],
    code: 2,
    says: /"fix": "use podman login or docker login; see portcullis --help"/,
  },
  { args: ['image', 'ls'], code: 2, says: /\(Did you mean images\?\)/ },
  { args: ['containers'], code: 2, says: /\(Did you mean ps\?\)/ },
  { args: ['fleet', 'ls'], code: 2, says: /unknown command 'ls'\n\(Did you mean nodes\?\)/ },
  { args: ['images', 'delete', 'x'], code: 2, says: /unknown command 'delete'\n\(Did you mean rm\?\)/ },
  {
    args: ['policy', 'lint', '-o', 'json'],
    code: 2,
    says: /"fix": "did you mean check\? see .*policy --help"/,
  },
  { args: ['inspect', 'x'], code: 2, says: /Did you mean one of .*entitlements inspect, .*images inspect/ },
  {
    args: ['pull', '-o', 'json'],
    code: 2,
    says: /"fix": "did you mean images pull\? see portcullis --help"/,
  },
  {
    args: ['verify', '127.0.0.1:1/app:1', '--certificate-identity', 'a@example.com'],
    code: 2,
    says: /unknown option '--certificate-identity'\n\(name the identity in a policy, .*--policy FILE\)/,
  },
  {
    args: ['sign', '127.0.0.1:1/app:1', '-r', '-a', 'by=ci', '--yes', '--key', '/nonexistent/cosign.key'],
    code: 2,
    says: /nonexistent\/cosign\.key/,
  },
  {
    args: ['verify', 'app:1', '--certificate-oidc-issuer=x', '-o', 'json'],
    code: 2,
    says: /"fix": "name the identity in a policy, .*--policy FILE; see portcullis verify --help"/,
  },
  { args: ['version'], code: 2, says: /Did you mean --version\?/ },
  { args: ['ps', '--nope'], code: 2, says: /unknown option '--nope'/ },
  { args: ['--socket', '/x', 'ps'], code: 2, says: /'--socket'\n\(write options after the command; see/ },
  { args: ['logs'], code: 2, says: /missing required argument 'container'/ },
  { args: ['logs', '--tail', 'x', 'c'], code: 2, says: /whole number/ },
  { args: ['ps', '--output', 'xml'], code: 2, says: /Allowed choices are text, json/ },
  { args: ['help', 'exec'], code: 0, says: /Usage: portcullis exec/ },
  { args: ['help', 'images', 'ls'], code: 0, says: /Usage: portcullis images ls/ },
  { args: ['help', 'nope'], code: 2, says: /unknown command 'nope'/ },
  { args: ['exec', '--help'], code: 0, says: /Usage: portcullis exec/ },
  {
    args: ['sign', 'registry.example.com/app:1', '--key', 'cosign.key', '--certificate-chain', 'chain.pem'],
    code: 2,
    says: /--certificate-chain goes with --key and --format notation-jws or notation-cose/,
  },
  {
    args: [
      'sign',
      'a/b:1',
      '--key',
      'k',
      '--format',
      'notation-jws',
      '--certificate-chain',
      '/nonexistent/c.pem',
    ],
    code: 2,
    says: /read certificates \/nonexistent\/c\.pem: it does not exist; name a PEM file/,
  },
  {
    args: ['sign', 'a/b:1', '--key', '/nonexistent/k', '--identity', ''],
    code: 2,
    says: /'--identity <name>' argument '' is invalid\. It is empty: give a value, or leave out the option/,
  },
  {
    args: ['admit', 'a/b:1', '--policy', 'p.yaml', '--policy-uri', 'https://example.com/policy'],
    code: 2,
    says: /--policy-uri: only with --vsa/,
  },
  {
    args: ['verify', 'a/b:1', '--policy', 'p.yaml', '--namespace', ''],
    code: 2,
    says: /'--namespace <name>' argument '' is invalid\. It is empty: give a value/,
  },
  {
    args: ['trust', 'archive', 'verify', '/nonexistent/a.tar', '--namespace', ''],
    code: 2,
    says: /namespace <name>' argument '' is invalid\. It is empty: give a value/,
  },
  {
    args: ['images', 'pull', 'a/b:1', '--namespace', ''],
    code: 2,
    says: /namespace <name>' argument '' is invalid\. It is empty: give a value/,
  },
  {
    args: ['images', 'import', '/nonexistent/a.tar', 'a/b:1', '--namespace', ''],
    code: 2,
    says: /namespace <name>' argument '' is invalid\. It is empty: give a value/,
  },
  {
    args: ['cni', 'install', '--bin-dir', ''],
    code: 2,
    says: /'--bin-dir <dir>' argument '' is invalid\. It is empty/,
  },
  {
    args: ['tuf-client', '--metadata-dir', '', 'init', '/nonexistent/root.json'],
    code: 2,
    says: /'--metadata-dir <folder>' argument '' is invalid\. It is empty/,
  },
  {
    args: ['verdicts', 'ls', '--root', '/nonexistent', '--namespace', ''],
    code: 4,
    says: /STORAGE_NO_ACCESS/,
  },
  {
    args: ['fleet', 'verdicts', '--server', 'http://127.0.0.1:1', '--namespace', ''],
    code: 3,
    says: /HTTP_UNREACHABLE/,
  },
  { args: ['policy', 'check', ''], code: 2, says: /'' is invalid for argument 'path'\. It is empty\.\n/ },
  {
    args: ['policy', 'check', '', '-o', 'json'],
    code: 2,
    says: /"code": "CLI_INVALID_ARGUMENT",[^]*'' is invalid for argument 'path'\. It is empty/,
  },
  {
    args: ['exec', '--socket', '/nonexistent/x.sock', 'c', 'sh', '-c', ''],
    code: 4,
    says: /CRI_UNREACHABLE/,
  },
  {
    args: ['pods', '--socket', '/nonexistent/x.sock'],
    code: 4,
    says: /: the socket does not exist; start the daemon, or name its socket by \S.*\[CRI_UNREACHABLE\]/,
  },
  {
    args: ['daemon', '--config', '/nonexistent/c.yaml', '--log-level', 'loud'],
    code: 2,
    says: /2 problems:[^]*c\.yaml: cannot be read[^]*logLevel[^]*\[CONFIG_INVALID\]/,
  },
  {
    args: ['daemon', '--print-config', '--socket', '/run/x.sock'],
    code: 0,
    says: /^socket: \/run\/x\.sock$/m,
  },
  { args: ['daemon', '--print-config', '--output', 'json'], code: 0, says: /"defaultRuntime": "crun"/ },
];
for (const { args, code, says } of uses) {
  test(`portcullis ${args.join(' ')}: exits ${code}`, async () => {
    const outcome = await portcullis(...args);
    assert.match(outcome.stdout + outcome.stderr, says);
    assert.equal(outcome.code, code);
  });
}

test('no control sequence of a command line reaches the terminal, not even a colour', async () => {
  const { code, stderr } = await portcullis('policy', 'check', '--\u001b[31mred\u001b]0;title\u0007');
  assert.match(stderr, /^error: unknown option '--\?\[31mred\?\]0;title\?'\n/u);
  assert.equal(code, 2);
});

test('a result that cannot be written is reported as a failure', () => {
  const { status, stderr } = spawnSync(
    'sh',
    ['-c', 'exec "$0" "$1" --help > /dev/full', process.execPath, commandFile],
    {
      encoding: 'utf8',
    },
  );
  assert.deepEqual(
    [status, /^portcullis: write the result .*the disk is full;.*\[CLI_OUTPUT_UNWRITABLE\]\n$/u.test(stderr)],
    [4, true],
    stderr,
  );
});

test('a result that cannot be written is reported as JSON where JSON is the output format', () => {
  const words = ['-c', 'exec "$0" "$1" entitlements list -o json > /dev/full', process.execPath, commandFile];
  const { status, stderr } = spawnSync('sh', words, { encoding: 'utf8' });
  const { error } = JSON.parse(stderr) as { error: Record<string, string> };
  assert.deepEqual([status, error['code'], error['why']], [4, 'CLI_OUTPUT_UNWRITABLE', 'the disk is full']);
});

test('a result for a closed standard output is reported as a failure', () => {
  const launcher = join(import.meta.dirname, '../packaging/bin/portcullis');
  const { status, stderr } = spawnSync('sh', ['-c', 'exec "$0" --help >&-', launcher], { encoding: 'utf8' });
  assert.match(
    stderr,
    /^portcullis: write the result .*: it is closed; open it, .*\[CLI_OUTPUT_UNWRITABLE\]\n$/u,
  );
  assert.equal(status, 4);
});

test('a working folder that was removed is named as the reason, and is not a defect to report', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-removed-folder-'));
  const { status, stderr } = spawnSync(
    'sh',
    ['-c', 'rmdir "$PWD" && exec "$0" "$@"', process.execPath, commandFile, 'setup', '--dry-run'],
    { encoding: 'utf8', cwd: folder },
  );
  assert.match(
    stderr,
    /^portcullis: run the command: the working folder was removed; change to .*\[CLI_NO_WORKING_FOLDER\]$/mu,
  );
  assert.equal(status, 4);
});

test('a user other than root gets an error that names root when the daemon answers only root', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-not-root-'));
  chmodSync(folder, 0o755);
  const socket = join(folder, 'admin.sock');
  const server = createServer();
  server.listen(socket);
  await once(server, 'listening');
  chmodSync(socket, 0o600);
  try {
    for (const [words, says] of [
      [
        ['network', 'overlay', 'status', '--admin-socket'],
        /only root may call it: .*run the command as root \[NETWORK_NOT_ROOT\]/u,
      ],
      [
        ['service', 'ls', '--admin-socket'],
        /only root may call it: .*run the command as root \[NETWORK_NOT_ROOT\]/u,
      ],
      [['ps', '--socket'], /this user may not connect to the socket; run the command as root, or name/u],
    ] as const) {
      const [program, ...args] = [...asNobody, process.execPath, commandFile, ...words, socket];
      const child = spawn(program, args, {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, HOME: folder },
      });
      let said = '';
      child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
      const [code] = (await once(child, 'close')) as [number];
      assert.deepEqual([code, says.test(said)], [4, true], said);
    }
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

for (const [words, why] of [
  [
    ['daemon'],
    /^portcullis: start the daemon: only root can create .* this user has the id \d+; run it with sudo \[CLI_NOT_ROOT\]\n$/u,
  ],
  [
    ['network', 'docker-driver'],
    /^portcullis: serve docker networks: only root can .*; run it with sudo \[CLI_NOT_ROOT\]\n$/u,
  ],
  [
    ['quickstart'],
    /^portcullis: run the quickstart: only root can .*; run it with sudo \[CLI_NOT_ROOT\]\n$/u,
  ],
] as const)
  test(`${words.join(' ')} as a user other than root says so before it changes anything`, () => {
    const [program, ...args] = [...asNobody, process.execPath, commandFile, ...words];
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    assert.deepEqual([status, stdout], [4, ''], stderr);
    assert.match(stderr, why);
  });

test('the effective configuration needs no root', () => {
  const [program, ...args] = [...asNobody, process.execPath, commandFile, 'daemon', '--print-config'];
  assert.equal(spawnSync(program, args, { encoding: 'utf8' }).status, 0);
});
