import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { startKernelWorker } from '../../../base/kernel/index.ts';
import { createLogger } from '../../../base/log/index.ts';
import { programStarter, startReactor } from '../../../base/reactor/index.ts';
import { readPluginList } from '../../spec/plugin-list.ts';
import { createChains } from './chains.ts';
import type { Chains } from './chains.ts';
import type { ChainJob, ChainLink } from '../../calls/chain.types.ts';
import { createJoining } from '../../engine/joining.ts';

/** Third-party plugins, correct and faulty, as scripts that record how they were called. */

const folder = mkdtempSync(join(tmpdir(), 'portcullis-chain-'));
const bin = join(folder, 'bin');
const calls = join(folder, 'calls');
mkdirSync(bin);
const ends: (() => Promise<void>)[] = [];
let chains: Chains;

before(async () => {
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  const alive = setInterval(() => undefined, 1000);
  ends.push(async () => {
    clearInterval(alive);
    await Promise.all([reactor.close(), kernel.close()]);
  });
  chains = createChains({
    programs: {
      startProgram: programStarter(reactor, kernel),
      binDirs: ['/nonexistent', bin],
      timeoutMs: 1500,
    },
    binDirs: [bin],
    cacheDir: join(folder, 'cni'),
    callPlugin: () => Promise.reject(new Error('a program was requested')),
    log: createLogger({ level: 'silent' }),
  });
});
after(async () => {
  for (const end of ends) await end();
  rmSync(folder, { recursive: true, force: true });
});

/** Writes a bash plugin that records environment and input, and answers VERSION. */
function plugin(type: string, body = 'exit 0', versions = '"0.3.1","0.4.0","1.0.0","1.1.0"'): void {
  const script = `#!/bin/bash
stdin=$(cat /dev/stdin)
if [ "$CNI_COMMAND" = VERSION ]; then echo '{"cniVersion":"1.0.0","supportedVersions":[${versions}]}'; exit 0; fi
printf '%s\\t%s\\t%s\\n' "${type} $CNI_COMMAND $CNI_IFNAME $CNI_NETNS" "$CNI_ARGS" "$stdin" >> ${calls}
${body}
`;
  writeFileSync(join(bin, type), script);
  chmodSync(join(bin, type), 0o755);
}

const noted = (): [string, string, Record<string, unknown>][] => {
  const lines = existsSync(calls) ? readFileSync(calls, 'utf8').trimEnd().split('\n') : [];
  rmSync(calls, { force: true });
  return lines.map((line) => {
    const [what = '', args = '', stdin = ''] = line.split('\t');
    return [what, args, JSON.parse(stdin) as Record<string, unknown>];
  });
};

const makes = (result: object): string =>
  `[ $CNI_COMMAND = ADD ] && echo '${JSON.stringify(result)}'; exit 0`;
const result = (version: string) => ({
  cniVersion: version,
  interfaces: [{ name: 'veth1' }, { name: 'eth0', mac: '0a:58:0a:00:00:02', sandbox: '/run/netns/p' }],
  ips: [
    { ...(version < '1' && { version: '4' }), address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 1 },
  ],
});

function listOf(document: object): ChainLink['list'] {
  const read = readPluginList(JSON.stringify(document), 'n.conflist');
  assert.equal(read.outcome, 'ok', JSON.stringify(read));
  return read.list;
}
const capabilityArgs = {
  portMappings: [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' }],
  dns: { servers: ['10.0.0.10'] },
};
function jobOf(document: object, more: Partial<ChainJob> = {}): ChainJob {
  const list = listOf(document);
  return {
    id: 'c1',
    netns: '/run/netns/p',
    pod: { name: 'web', namespace: 'shop', uid: 'u-1' },
    links: [{ network: list.name, interface: 'eth0', way: 'exec', list, capabilityArgs }],
    ...more,
  };
}
const coded = (code: string, why: RegExp) => (thrown: unknown) => {
  assert.ok(isPortcullisError(thrown), String(thrown));
  assert.equal(thrown.code, code, thrown.message);
  assert.match(thrown.message, why);
  return true;
};

test('each plugin gets the same as from libcni: environment, a stdin that can be opened, name, version, declared capabilities, previous result', async () => {
  plugin('first', makes(result('1.0.0')));
  plugin('second', makes({ ...result('1.0.0'), dns: { nameservers: ['10.0.0.1'] } }));
  const job = jobOf({
    cniVersion: '1.0.0',
    name: 'net',
    plugins: [
      { type: 'first', own: { a: 1 } },
      { type: 'second', capabilities: { portMappings: true, dns: false, mac: true } },
    ],
  });
  const [made] = await chains.add(job);
  assert.deepEqual(made?.dns, { nameservers: ['10.0.0.1'] });
  const [one, two] = noted();
  assert.equal(one?.[0], 'first ADD eth0 /run/netns/p');
  assert.equal(
    one?.[1],
    'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1',
  );
  assert.deepEqual(one?.[2], { type: 'first', own: { a: 1 }, name: 'net', cniVersion: '1.0.0' });
  assert.deepEqual(two?.[2]['runtimeConfig'], { portMappings: capabilityArgs.portMappings });
  assert.deepEqual((two?.[2]['prevResult'] as { ips: object[] }).ips, result('1.0.0').ips);

  const cached = JSON.parse(readFileSync(join(folder, 'cni/results/net-c1-eth0'), 'utf8')) as Record<
    string,
    unknown
  >;
  assert.equal(cached['kind'], 'cniCacheV1');
  assert.equal((cached['result'] as { cniVersion: string }).cniVersion, '1.0.0');
  assert.match(Buffer.from(String(cached['config']), 'base64').toString(), /"name":"net"/u);

  const existing = {
    ...job,
    links: job.links.map((link) => ({ ...link, ...(made !== undefined && { result: made }) })),
  };
  await chains.check(existing);
  assert.deepEqual(
    noted().map(([what]) => what.split(' ').slice(0, 2).join(' ')),
    ['first CHECK', 'second CHECK'],
  );
  await chains.remove(existing);
  const removed = noted();
  assert.deepEqual(
    removed.map(([what]) => what.split(' ').slice(0, 2).join(' ')),
    ['second DEL', 'first DEL'],
  );
  assert.ok('prevResult' in (removed[0]?.[2] ?? {}));
  assert.deepEqual(readdirSync(join(folder, 'cni/results')), []);
});

test('the result of a plugin with an older version than the list is converted', async () => {
  plugin('older', makes(result('0.4.0')));
  plugin('second', makes(result('1.1.0')));
  await chains.add(
    jobOf({ cniVersion: '1.1.0', name: 'net', plugins: [{ type: 'older' }, { type: 'second' }] }),
  );
  const prev = noted()[1]?.[2]['prevResult'] as { cniVersion: string; ips: { version?: string }[] };
  assert.equal(prev.cniVersion, '1.1.0');
  assert.equal(prev.ips[0]?.version, undefined);
  await chains.remove(
    jobOf({ cniVersion: '1.1.0', name: 'net', plugins: [{ type: 'older' }, { type: 'second' }] }),
  );
  noted();
});

test('the highest version of cniVersions that both support is used; a plugin without it is refused', async () => {
  assert.equal(
    listOf({ cniVersions: ['0.4.0', '1.0.0', '9.0.0'], name: 'n', plugins: [{ type: 'first' }] }).cniVersion,
    '1.0.0',
  );
  plugin('old', 'exit 0', '"0.3.1"');
  const list = listOf({ cniVersion: '1.0.0', name: 'n', plugins: [{ type: 'old' }] });
  await assert.rejects(
    chains.status({ way: 'exec', list }),
    coded('NETWORK_PLUGIN_VERSION', /CNI version 1\.0\.0.*supports 0\.3\.1/u),
  );
  // The file was rewritten, so the plugin is asked for its versions again.
  plugin('old', 'exit 0', '"0.3.1", "1.0.0"');
  await chains.status({ way: 'exec', list });
  noted();
});

test('STATUS calls the plugins of version 1.1 and reports their reason', async () => {
  plugin(
    'down',
    `[ $CNI_COMMAND = STATUS ] && { echo '{"cniVersion":"1.1.0","code":50,"msg":"no uplink"}'; exit 1; }; exit 0`,
  );
  const list = (version: string) => listOf({ cniVersion: version, name: 'n', plugins: [{ type: 'down' }] });
  await chains.status({ way: 'exec', list: list('1.0.0') });
  assert.deepEqual(noted(), []);
  await assert.rejects(
    chains.status({ way: 'exec', list: list('1.1.0') }),
    coded('NETWORK_PLUGIN_FAILED', /no uplink/u),
  );
  noted();
});

test('a plugin whose STATUS hangs does not block status requests for the network, and is called once', async () => {
  plugin('hangs', '[ $CNI_COMMAND = STATUS ] && sleep 60; exit 0');
  const list = listOf({ cniVersion: '1.1.0', name: 'n', plugins: [{ type: 'hangs' }] });
  const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  try {
    const own = createChains({
      programs: { startProgram: programStarter(reactor, kernel), binDirs: [bin], timeoutMs: 20_000 },
      binDirs: [bin],
      cacheDir: join(folder, 'cni'),
      callPlugin: () => Promise.reject(new Error('a program was requested')),
      log: createLogger({ level: 'silent' }),
    });
    const ready = { ready: true, reason: 'NetworkReady', message: '', networks: ['n'] };
    const network = { name: 'n', file: 'n.conflist', list, way: 'exec' } as const;
    const joining = createJoining({
      ask: () => Promise.resolve({ status: ready, networks: [network] }),
      chains: own,
      log: createLogger({ level: 'silent' }),
    });
    const answers = [await joining.status(), await joining.status()];
    for (const answer of answers) {
      assert.deepEqual([answer?.ready, answer?.reason], [false, 'NetworkPluginTimeout']);
      assert.match(answer?.message ?? '', /the plugins of n: they have not answered for 3 s/u);
    }
    assert.equal(noted().length, 1);
  } finally {
    await Promise.all([reactor.close(), kernel.close()]);
  }
});

const bad: readonly [what: string, body: string, code: string, why: RegExp][] = [
  [
    'an error on standard output',
    `echo '{"code":7,"msg":"bad subnet","details":"10.0.0.0/99"}'; exit 1`,
    'NETWORK_PLUGIN_FAILED',
    /bad subnet; 10\.0\.0\.0\/99/u,
  ],
  [
    'output on standard error only',
    'echo segfault >&2; exit 139',
    'NETWORK_PLUGIN_FAILED',
    /signal 11: segfault/u,
  ],
  ['garbage and success', 'echo well; exit 0', 'NETWORK_PLUGIN_FAILED', /its result is not JSON: 1:1/u],
  ['nothing and success', 'exit 0', 'NETWORK_PLUGIN_FAILED', /its result is not JSON/u],
  [
    'a result that is not one',
    `echo '{"cniVersion":"1.0.0","ips":[{"address":"here"}]}'`,
    'NETWORK_PLUGIN_FAILED',
    /"here" is not an address/u,
  ],
  ['a flood', 'yes; exit 0', 'NETWORK_PLUGIN_TIMEOUT', /more than 1048576 bytes/u],
  ['a flood of errors', 'yes >&2; exit 0', 'NETWORK_PLUGIN_TIMEOUT', /bytes of errors/u],
  ['silence', 'sleep 600', 'NETWORK_PLUGIN_TIMEOUT', /did not end within 1\.5 s/u],
];
for (const [what, body, code, why] of bad) {
  test(`a plugin that answers with ${what}`, async () => {
    plugin('bad', `[ $CNI_COMMAND = ADD ] || exit 0\n${body}`);
    await assert.rejects(
      chains.add(jobOf({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bad' }] })),
      coded(code, why),
    );
    noted();
  });
}

test('the error code of a plugin is passed on to the caller', async () => {
  plugin('bad', `echo '{"code":11,"msg":"later"}'; exit 1`);
  const failure = await chains
    .add(jobOf({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bad' }] }))
    .then(
      () => assert.fail(),
      (thrown: unknown) => thrown as PortcullisError,
    );
  assert.deepEqual(failure.failure.details, { plugin: 'bad', cniCode: 11 });
  noted();
});

test('a plugin that hangs is killed with all processes that it started, also outside its process group', async () => {
  const children = join(folder, 'children');
  plugin('bad', `sleep 601 & echo $! >> ${children}\nsetsid sleep 602 & echo $! >> ${children}\nwait`);
  await assert.rejects(
    chains.add(jobOf({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'bad' }] })),
    coded('NETWORK_PLUGIN_TIMEOUT', /killed/u),
  );
  const pids = readFileSync(children, 'utf8').trim().split('\n').map(Number);
  assert.equal(pids.length, 2);
  for (const pid of pids)
    assert.ok(
      !existsSync(`/proc/${pid}/cmdline`) || readFileSync(`/proc/${pid}/cmdline`, 'utf8') === '',
      String(pid),
    );
  noted();
});

test('a program that is missing, or is just being written, is reported', async () => {
  await assert.rejects(
    chains.add(jobOf({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'nowhere' }] })),
    coded('NETWORK_PLUGIN_MISSING', /\/nonexistent, /u),
  );
  plugin('first', makes(result('1.0.0')));
  // A script never yields "text file busy"; a binary does.
  copyFileSync('/bin/true', join(bin, 'busy'));
  const held = openSync(join(bin, 'busy'), 'r+');
  setTimeout(() => closeSync(held), 400);
  await chains.remove(jobOf({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'busy' }] }));
});

test('a plugin that fails at DEL does not keep the others from running DEL; the failure is reported', async () => {
  plugin('first', makes(result('1.0.0')));
  plugin('stuck', `echo '{"code":5,"msg":"stuck"}'; exit 1`);
  await assert.rejects(
    chains.remove(
      jobOf({ cniVersion: '1.0.0', name: 'net', plugins: [{ type: 'first' }, { type: 'stuck' }] }),
    ),
    coded('NETWORK_PLUGIN_FAILED', /stuck/u),
  );
  assert.deepEqual(
    noted().map(([what]) => what.split(' ').slice(0, 2).join(' ')),
    ['stuck DEL', 'first DEL'],
  );
});

test('unclaimed attachments are deleted with their cached configuration, then GC is called; third-party files stay', async () => {
  plugin('first', makes(result('1.1.0')));
  const document = { cniVersion: '1.1.0', name: 'net', plugins: [{ type: 'first', mark: 'then' }] };
  const [lost, kept] = [jobOf(document, { id: 'lost' }), jobOf(document, { id: 'kept' })];
  await chains.add(lost);
  await chains.add(kept);
  noted();
  const network = {
    way: 'exec',
    list: listOf({ ...document, plugins: [{ type: 'first', mark: 'now' }] }),
  } as const;
  await chains.collect(network, [kept]);
  const [del, gc] = noted();
  assert.equal(del?.[0], 'first DEL eth0 ');
  assert.equal(del?.[2]['mark'], 'then');
  assert.equal(gc?.[0].trim(), 'first GC');
  const valid = [{ containerID: 'kept', ifname: 'eth0' }];
  assert.deepEqual([gc?.[2]['cni.dev/valid-attachments'], gc?.[2]['cni.dev/attachments']], [valid, valid]);

  // Another runtime shares the network. It left one file truncated by a crash, and one complete file.
  writeFileSync(join(folder, 'cni/results/net-theirs-eth0'), '{"kind":"cniCa');
  await chains.collect(network, [kept]);
  assert.deepEqual(noted(), []);
  assert.ok(existsSync(join(folder, 'cni/results/net-theirs-eth0')));
  writeFileSync(join(folder, 'cni/results/net-theirs-eth0'), 'null');
  await chains.collect(network, [kept]);
  assert.deepEqual(noted(), []);
  rmSync(join(folder, 'cni/results/net-theirs-eth0'));
  await chains.collect({ ...network, list: { ...network.list, disableGC: true } }, [kept]);
  assert.deepEqual(noted(), []);
  await chains.remove(kept);
});
