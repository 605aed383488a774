import assert from 'node:assert/strict';
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { loadDaemonConfig } from './load.ts';
import type { LoadConfigInput } from './load.ts';
import { formatDaemonConfig } from './print.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'portcullis-config-'));
});
after(() => rm(folder, { recursive: true }));

async function written(text: string): Promise<string> {
  const file = join(folder, 'config.yaml');
  await writeFile(file, text);
  return file;
}

async function problemsOf(input: LoadConfigInput): Promise<string[]> {
  try {
    await loadDaemonConfig(input);
  } catch (thrown) {
    assert.ok(isPortcullisError(thrown));
    assert.equal(thrown.code, 'CONFIG_INVALID');
    return thrown.failure.details?.problems as string[];
  }
  return [];
}

test('a cluster is used only if its section is written, also as an empty object', async () => {
  const { network } = await loadDaemonConfig({ file: await written('# nothing\n') });
  assert.deepEqual([network.kubernetes, network.services.kubernetes, network.pods], Array(3).fill(undefined));
  const text = 'network: { kubernetes: {}, services: { kubernetes: {} } }\n';
  const { network: asked } = await loadDaemonConfig({ file: await written(text) });
  assert.deepEqual(asked.kubernetes, { servers: [], policies: true });
  assert.deepEqual(asked.services.kubernetes, { healthAddress: '0.0.0.0:10256' });
});

test('a node has one source of its policy', async () => {
  const releases = 'policySubscription: { service: "oci://r.test/p", root: r.json }\n';
  const objects = 'cluster: { policies: true }\n';
  const files = 'policy: [p]\n';
  for (const text of [releases, objects, files, `cluster: {}\n${files}`, `cluster: {}\n${releases}`])
    assert.deepEqual(await problemsOf({ file: await written(text) }), [], text);
  for (const [text, named] of [
    [releases + files, /^policySubscription: policy is also set/u],
    [objects + files, /^cluster\.policies: policy is also set/u],
    [objects + releases, /^cluster\.policies: policySubscription is also set/u],
  ] as const)
    assert.match((await problemsOf({ file: await written(text) })).join('\n'), named);
  const flags = { '--policy': ['p'] };
  assert.match((await problemsOf({ file: await written(objects), flags })).join(), /--policy is also set/u);
  const unused = await problemsOf({ file: await written('cluster: { policyFiles: keys }\n') });
  assert.match(unused.join(), /no effect without cluster\.policies/u);
  const { cluster } = await loadDaemonConfig({ file: await written(`cluster: {}\n`) });
  assert.deepEqual(cluster, { servers: [], policies: false, policyStatus: true, reports: true });
  assert.equal((await loadDaemonConfig({ file: await written('# nothing\n') })).cluster, undefined);
});

test('the name server of a cluster must have an address that pods can reach, however the address is written', async () => {
  const odd = [
    ...['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '::', '0:0:0:0:0:0:0:1', '0000::1'],
    ...['::ffff:127.0.0.1', 'FF02::1', 'fe80::1', 'here'],
  ];
  const problems = async (address: string): Promise<string[]> =>
    problemsOf({
      file: await written(`network: { kubernetes: { dns: { address: ${JSON.stringify(address)} } } }\n`),
    });
  for (const address of odd)
    assert.match((await problems(address)).join(), /is not an address that pods can ask/u, address);
  for (const address of ['169.254.20.10', 'fd00::a', '10.96.0.10'])
    assert.deepEqual(await problems(address), []);
});

test('a file that is not UTF-8 is refused, because its paths would be others than its author wrote', async () => {
  const file = join(folder, 'latin1.yaml');
  await writeFile(file, Buffer.from('root: /var/lib/\u00e9tat\n', 'latin1'));
  assert.deepEqual(await problemsOf({ file }), [`${file}:1:1: the file is not UTF-8; save it as UTF-8`]);
  await writeFile(file, '\ufeffroot: /var/lib/\u00e9tat\r\n');
  assert.equal((await loadDaemonConfig({ file })).root, '/var/lib/\u00e9tat');
});

test('without a file the defaults apply', async () => {
  const config = await loadDaemonConfig({ file: await written('# nothing\n') });
  assert.equal(config.socket, '/run/portcullis/portcullis.sock');
  assert.deepEqual(config.policy, ['/etc/portcullis/policy']);
  assert.deepEqual(Object.keys(config.runtimes), ['crun', 'runc']);
  assert.deepEqual(config.peers, { uids: [], gids: [] });
  assert.equal(config.strict, false);
  assert.equal('$schema' in config, false);
});

test('flags take precedence over the file, and the file over the defaults', async () => {
  const file = await written(
    'socket: /a/file.sock\nroot: /a/root\nregistries: { insecure: [one:5000], mirrors: { docker.io: { url: "https://m" } } }\n',
  );
  const flags = {
    '--socket': ['/a/flag.sock'],
    '--policy': ['p.yaml', '/q'],
    '--insecure-registry': ['two'],
    '--registry-mirror': ['k8s.io=http://127.0.0.1:5000'],
    '--runtime': ['gvisor=/opt/runsc'],
  };
  const config = await loadDaemonConfig({ file, flags, workingFolder: '/srv/site' });
  assert.equal(config.socket, '/a/flag.sock');
  assert.equal(config.root, '/a/root');
  assert.deepEqual(config.policy, ['/srv/site/p.yaml', '/q']);
  assert.deepEqual(config.registries.insecure, ['one:5000', 'two']);
  assert.deepEqual(config.registries.mirrors['docker.io'], { url: 'https://m', origin: true });
  assert.deepEqual(config.registries.mirrors['k8s.io'], { url: 'http://127.0.0.1:5000', origin: false });
  assert.deepEqual(Object.keys(config.runtimes), ['crun', 'runc', 'gvisor']);
});

test('relative paths of a file are relative to its folder', async () => {
  const config = await loadDaemonConfig({
    file: await written(
      'policy: [policy]\nroot: ./r\nruntimes: { crun: { path: bin/crun } }\ncni: { binDirs: [x] }\n',
    ),
  });
  assert.deepEqual(config.policy, [join(folder, 'policy')]);
  assert.equal(config.root, join(folder, 'r'));
  assert.deepEqual(config.runtimes, { crun: { path: join(folder, 'bin/crun') } });
  assert.deepEqual(config.cni, { confDir: '/etc/cni/net.d', binDirs: [join(folder, 'x')] });
});

test('a socket may be written as a URL, as for a kubelet', async () => {
  const file = await written('socket: unix:///run/a.sock\n');
  assert.equal((await loadDaemonConfig({ file })).socket, '/run/a.sock');
  const flags = { '--socket': ['unix:///run/b.sock'] };
  assert.equal((await loadDaemonConfig({ file, flags })).socket, '/run/b.sock');
  const short = await written('socket: unix:/run/c.sock\n');
  assert.equal((await loadDaemonConfig({ file: short })).socket, '/run/c.sock');
});

test('every path of a file is relative to its folder', async () => {
  const text = [
    'network: { cacheDir: c, policies: p, dockerSocket: d, services: { folder: s, kubernetes: { kubeconfig: k } } }',
    'streaming: { tls: { certFile: t, keyFile: y } }',
    'registries: { certificates: [e], mirrors: { m.test: { url: "https://m.test", authFile: a } } }',
    'audit: { path: l }',
  ].join('\n');
  const { network, streaming, registries, audit } = await loadDaemonConfig({ file: await written(text) });
  const { kubernetes, folder: services } = network.services;
  const paths = [network.cacheDir, network.policies, network.dockerSocket, services, kubernetes?.kubeconfig];
  paths.push(
    streaming.tls.certFile,
    streaming.tls.keyFile,
    ...registries.certificates,
    registries.mirrors['m.test']?.authFile,
    audit.path,
  );
  assert.deepEqual(
    paths,
    ['c', 'p', 'd', 's', 'k', 't', 'y', 'e', 'a', 'l'].map((name) => join(folder, name)),
  );
});

test('the printed configuration loads to the same configuration', async () => {
  const first = await loadDaemonConfig({
    file: await written(
      'strict: true\nnamespacePool: 0\nregistries: { mirrors: { "a:1": { url: "http://b" } } }\n',
    ),
  });
  const second = await loadDaemonConfig({ file: await written(formatDaemonConfig(first)) });
  assert.deepEqual(second, first);
});

test('all problems of a file are named with their places', async () => {
  const file = await written(
    'sockets: /x\nnamespacePool: 900\nregistries:\n  mirrors:\n    "bad host": { url: ftp://x }\nruntimes: {}\n',
  );
  const problems = await problemsOf({ file });
  for (const place of [
    `${file}:1:1: sockets`,
    `${file}:2:16: namespacePool`,
    `${file}:5:5`,
    `${file}:5:`,
    `${file}:6:`,
  ]) {
    assert.ok(
      problems.some((problem) => problem.startsWith(place)),
      `${place} in\n${problems.join('\n')}`,
    );
  }
  assert.match(problems.join('\n'), /did you mean .?socket/);
});

const wrong: readonly {
  readonly name: string;
  readonly text?: string;
  readonly flags?: Record<string, string[]>;
  readonly says: RegExp;
}[] = [
  { name: 'a syntax error', text: 'a: [\n', says: /config\.yaml:\d+:\d+/ },
  { name: 'a list instead of a map', text: '- a\n', says: /config\.yaml:1:1/ },
  {
    name: 'two documents',
    text: 'strict: true\n---\nstrict: false\n',
    says: /config\.yaml:3:1: a second document/,
  },
  { name: 'a duplicate key', text: 'strict: true\nstrict: false\n', says: /config\.yaml:2:1/ },
  {
    name: 'an unknown default runtime',
    text: 'defaultRuntime: kata\n',
    says: /kata is not among the runtimes \(crun, runc\)/,
  },
  {
    name: 'options of a shim for an OCI runtime',
    text: 'runtimes: { crun: { path: /usr/bin/crun, runtimePath: /usr/bin/crun } }\n',
    says: /runtimes\.crun: runtimePath and configPath are options of a shim/,
  },
  {
    name: 'required plugins of NRI without NRI',
    text: 'nri: { required: [must] }\n',
    says: /nri\.required: no plugin can connect without nri\.enabled/,
  },
  { name: 'overlapping root and state', text: 'root: /a\nstate: /a/b\n', says: /overlap/ },
  {
    name: 'a state folder whose sockets have paths that are too long',
    text: `state: /${'x'.repeat(96)}\n`,
    says: /state: \/x{96}\/admin\.sock is longer than the 107 bytes/,
  },
  {
    name: 'a CNI socket path that is too long',
    text: `cni: { socket: /${'x'.repeat(107)} }\n`,
    says: /cni\.socket.*107 bytes/,
  },
  { name: 'a TCP socket', text: 'socket: tcp://127.0.0.1:99\n', says: /socket: tcp:.*is a URL; give a path/ },
  {
    name: 'a TCP socket as a flag',
    flags: { '--socket': ['tcp://127.0.0.1:99'] },
    says: /socket: tcp:.*is a URL; give a path/,
  },
  {
    name: 'URLs as paths',
    text: 'cni: { confDir: "file:///etc/cni/net.d" }\nruntimes: { crun: { path: "https://r.test/crun" } }\npolicy: [p, "oci://r.test/p"]\n',
    says: /policy: oci:.*is a URL.*\ncni\.confDir: file:.*is a URL.*\nruntimes\.crun\.path: https:/,
  },
  {
    name: 'paths from a home folder',
    text: 'root: ~/x\nstate: "~root/x"\npolicy: [ok/~, "~"]\n',
    flags: { '--cni-conf-dir': ['~/net.d'] },
    says: /root: ~\/x begins with ~.*absolute path\nstate: ~root.*\npolicy: ~ begins.*\ncni\.confDir: ~\/net\.d/,
  },
  { name: 'a socket path that is too long', text: `socket: /${'x'.repeat(107)}\n`, says: /107 bytes/ },
  {
    name: 'a mirror without URL',
    flags: { '--registry-mirror': ['docker.io'] },
    says: /--registry-mirror docker\.io: not of the form HOST=URL/,
  },
  {
    name: 'a mirror with credentials in its URL',
    flags: { '--registry-mirror': ['a=http://u:p@b'] },
    says: /registries\.mirrors/,
  },
  {
    name: 'a prototype as mirror',
    flags: { '--registry-mirror': ['__proto__=http://b'] },
    says: /is not a name/,
  },
  { name: 'a wrong log level', flags: { '--log-level': ['loud'] }, says: /logLevel/ },
  { name: 'a flag given twice', flags: { '--socket': ['/a', '/b'] }, says: /--socket: given 2 times/ },
  { name: 'an empty flag', flags: { '--root': [''] }, says: /--root: its value is empty/ },
];
for (const row of wrong) {
  test(`refused: ${row.name}`, async () => {
    const problems = await problemsOf({ file: await written(row.text ?? ''), flags: row.flags ?? {} });
    assert.match(problems.join('\n'), row.says);
  });
}

test('a file that every user can change is refused, because it names programs that run as root', async (t) => {
  const refusal = async (change: (file: string) => Promise<void>): Promise<string> => {
    const file = await written('logLevel: debug\n');
    t.after(() => rm(file, { force: true }));
    await change(file);
    const problems = [await problemsOf({ file }), await problemsOf({ file, withoutThreads: true })];
    assert.deepEqual(problems[0], problems[1]);
    await rm(file);
    return problems[0]?.join('\n') ?? '';
  };
  assert.match(
    await refusal((file) => chmod(file, 0o666)),
    /config\.yaml: every user may write to it; chmod/,
  );
  const file = await written('logLevel: debug\n');
  await chown(file, 1000, 0);
  await chmod(file, 0o660);
  assert.equal((await loadDaemonConfig({ file })).logLevel, 'debug');
});

test('a named file must exist, and flags are checked even if it does not', async () => {
  const problems = await problemsOf({ file: join(folder, 'absent.yaml'), flags: { '--runtime': ['x'] } });
  assert.equal(problems.length, 2, problems.join('\n'));
  assert.match(problems[0] ?? '', /absent\.yaml: cannot be read: it does not exist$/u);
});

test('paths of registries are relative to the file', async () => {
  const file = await written(
    'registries: { certificates: [certs.d], mirrors: { docker.io: { url: "https://m", authFile: auth.json } } }\n',
  );
  const { registries } = await loadDaemonConfig({ file });
  assert.deepEqual(registries.certificates, [join(dirname(file), 'certs.d')]);
  assert.equal(registries.mirrors['docker.io']?.authFile, join(dirname(file), 'auth.json'));
});

test('a mirror whose certificate is not verified is refused', async () => {
  const file = await written(
    'registries: { mirrors: { docker.io: { url: "https://m", skip_verify: true } } }\n',
  );
  await assert.rejects(loadDaemonConfig({ file }), /skip_verify/);
});
