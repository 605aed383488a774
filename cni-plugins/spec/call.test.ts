import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { maxStdin, needsInput, readCall } from './call.ts';
import type { ReadCall } from './call.ts';

const environment = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c0ffee',
  CNI_NETNS: '/run/netns/pod',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin:/usr/lib/cni',
};
const conf = { cniVersion: '1.1.0', name: 'net', type: 'portcullis-bridge' };
const call = (
  env: Readonly<Record<string, string>>,
  config: unknown = conf,
  name = 'portcullis-bridge',
): ReadCall =>
  readCall({
    name,
    environment: { ...environment, ...env },
    stdin: Buffer.from(typeof config === 'string' ? config : JSON.stringify(config)),
  });
const errorOf = (read: ReadCall): string => {
  assert.equal(read.kind, 'error');
  return `${read.error.code} ${read.error.msg}${read.error.details === undefined ? '' : ` | ${read.error.details}`}`;
};

describe('a call of a CNI plugin', () => {
  it('is read from the environment and standard input', () => {
    const read = call({
      CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAME=web;X=1',
      TRACEPARENT: '00-1-2-01',
      HOME: '/root',
    });
    assert.equal(read.kind, 'call');
    const { config, ...rest } = read.call;
    assert.deepEqual(JSON.parse(config), conf);
    assert.deepEqual(rest, {
      verb: 'add',
      type: 'bridge',
      key: { network: 'net', containerId: 'c0ffee', interface: 'eth0' },
      netns: '/run/netns/pod',
      netnsOverride: false,
      args: { IgnoreUnknown: '1', K8S_POD_NAME: 'web', X: '1' },
      path: ['/opt/cni/bin', '/usr/lib/cni'],
      environment: { TRACEPARENT: '00-1-2-01' },
    });
  });

  it('without a command prints a description and reads nothing', () => {
    const read = call({ CNI_COMMAND: '' });
    assert.equal(read.kind, 'about');
    assert.match(
      read.text,
      /^CNI plugin portcullis-bridge .*\nCNI protocol versions supported: 0\.1\.0, .*, 1\.1\.0\n$/su,
    );
    assert.deepEqual(
      ['', 'VERSION', 'ADD', 'NONSENSE'].map((CNI_COMMAND) =>
        needsInput({ name: 'x', environment: { ...environment, CNI_COMMAND } }),
      ),
      [false, false, true, true],
    );
    assert.equal(needsInput({ name: 'x', environment: { CNI_COMMAND: 'ADD' } }), false);
  });

  // Codes and messages are those of pkg/skel of containernetworking/cni 1.3.
  for (const [what, env, config, reported] of [
    [
      'no variables',
      { CNI_CONTAINERID: '', CNI_NETNS: '', CNI_IFNAME: '', CNI_PATH: '' },
      conf,
      '4 required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing',
    ],
    [
      'DEL needs no namespace',
      { CNI_COMMAND: 'DEL', CNI_NETNS: '', CNI_PATH: '' },
      conf,
      '4 required env variables [CNI_PATH] missing',
    ],
    [
      'GC needs a path',
      { CNI_COMMAND: 'GC', CNI_PATH: '', CNI_CONTAINERID: '' },
      conf,
      '4 required env variables [CNI_PATH] missing',
    ],
    [
      'a container id',
      { CNI_CONTAINERID: '../x' },
      conf,
      '4 invalid characters in containerID | CNI_CONTAINERID=../x',
    ],
    [
      'a long interface',
      { CNI_IFNAME: 'x'.repeat(16) },
      conf,
      '4 interface name is too long | CNI_IFNAME=xxxxxxxxxxxxxxxx: interface name should be less than 16 characters',
    ],
    ['an interface ..', { CNI_IFNAME: '..' }, conf, '4 interface name is . or .. | CNI_IFNAME=..'],
    [
      'a blank interface',
      { CNI_IFNAME: 'a\u0085b' },
      conf,
      '4 interface name contains / or : or whitespace characters | CNI_IFNAME=a\u0085b',
    ],
    ['an unknown command', { CNI_COMMAND: 'FROB' }, conf, '4 unknown CNI_COMMAND: FROB'],
    [
      'no input',
      {},
      '',
      '6 error unmarshall network config: stdin:1:1: the text ends where a value is expected',
    ],
    ['a list', {}, [], '6 error unmarshall network config: stdin:1:1: the document must be an object'],
    [
      'a number as version',
      {},
      { ...conf, cniVersion: 1 },
      '6 error unmarshall network config: stdin:1:15: cniVersion must be a string',
    ],
    ['no name', {}, { cniVersion: '1.0.0' }, '7 missing network name'],
    [
      'a long name',
      {},
      { ...conf, name: 'x'.repeat(256) },
      '7 network name is too long | at most 255 characters',
    ],
    ['a name with a slash', {}, { ...conf, name: 'a/b' }, '7 invalid characters found in network name | a/b'],
    [
      'a version of tomorrow',
      {},
      { ...conf, cniVersion: '2.0.0' },
      '1 incompatible CNI versions | config is "2.0.0", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]',
    ],
    [
      'CHECK before 0.4.0',
      { CNI_COMMAND: 'CHECK' },
      { ...conf, cniVersion: '0.3.1' },
      '1 config version does not allow CHECK',
    ],
    [
      'GC before 1.1.0',
      { CNI_COMMAND: 'GC' },
      { ...conf, cniVersion: '1.0.0' },
      '1 config version does not allow GC',
    ],
    [
      'STATUS without a version',
      { CNI_COMMAND: 'STATUS' },
      { name: 'net' },
      '1 config version does not allow STATUS',
    ],
    [
      'CHECK with an invalid version',
      { CNI_COMMAND: 'CHECK' },
      { ...conf, cniVersion: 'x.y' },
      '6 failed to convert major version part "x": not a number',
    ],
    ['an unknown argument', { CNI_ARGS: 'FOO=1' }, conf, '4 CNI_ARGS: unknown args ["FOO=1"]'],
    ['a pair without a value', { CNI_ARGS: 'IgnoreUnknown=1;FOO' }, conf, '4 CNI_ARGS: invalid pair "FOO"'],
    [
      'a previous result of nonsense',
      {},
      '{"name":"net",\n"cniVersion":"1.0.0",\n"prevResult":{"ips":[{"address":"1.2.3.4"}]}}',
      '7 invalid network config: stdin:3:33: "1.2.3.4" is not an address with its prefix length, such as 10.88.0.2/16',
    ],
    [
      'valid attachments that are not objects',
      { CNI_COMMAND: 'GC' },
      '{"cniVersion":"1.1.0","name":"net","cni.dev/valid-attachments":[{"containerID":"a"}]}',
      "7 invalid network config: stdin:1:65: 'containerID' and 'ifname' are needed",
    ],
  ] as const) {
    it(`is refused: ${what}`, () => assert.equal(errorOf(call(env, config)), reported));
  }

  it('adds no interface of a name that the kernel refuses or replaces, and deletes one', () => {
    for (const name of ['all', 'default', 'eth%d', 'à0']) {
      assert.equal(
        errorOf(call({ CNI_IFNAME: name })),
        `4 the kernel has no interface of this name | CNI_IFNAME=${name}: choose another interface name`,
      );
      assert.equal(call({ CNI_IFNAME: name, CNI_COMMAND: 'DEL' }).kind, 'call');
    }
  });

  it('is refused when standard input has no end', () => {
    assert.match(
      errorOf(readCall({ name: 'x', environment, stdin: Buffer.alloc(maxStdin + 1) })),
      /^5 error reading from stdin/u,
    );
  });

  it('ignores unknown arguments if upstream does, and with IgnoreUnknown', () => {
    for (const [name, text] of [
      ['portcullis-portmap', 'FOO=1;;x'],
      ['portcullis-bridge', 'FOO=1;IgnoreUnknown=TRUE'],
    ] as const)
      assert.equal(call({ CNI_ARGS: text }, conf, name).kind, 'call', name);
  });

  it('finds names case-insensitively, as Go does', () => {
    const read = call(
      {},
      { CniVersion: '1.0.0', Name: 'net', prevresult: { IPs: [{ Address: '10.0.0.2/24' }] } },
    );
    assert.equal(read.kind, 'call');
    assert.deepEqual(
      [read.version, read.call.key.network, read.call.prevResult?.ips],
      ['1.0.0', 'net', [{ address: '10.0.0.2/24' }]],
    );
  });

  it('reads the attachments of a GC under both names', () => {
    for (const name of ['cni.dev/valid-attachments', 'cni.dev/attachments']) {
      const read = call({ CNI_COMMAND: 'GC' }, { ...conf, [name]: [{ containerID: 'a', ifname: 'eth0' }] });
      assert.equal(read.kind, 'call');
      assert.deepEqual(read.call.valid, [{ containerId: 'a', interface: 'eth0' }]);
    }
  });

  it('is read or refused with a code of the specification, whatever it is', () => {
    const text = fc.oneof(
      fc.string(),
      fc.constantFrom('', '.', '..', 'eth0', '/x', 'a'.repeat(300), '\u0000', '0.4.0'),
    );
    const json = fc.oneof(
      fc.json(),
      fc.string(),
      fc.json().map((value) => `{"cniVersion":"1.1.0","name":"n","prevResult":${value}}`),
    );
    const verb = fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', '', 'add', 'X');
    fc.assert(
      fc.property(verb, text, text, text, text, json, (CNI_COMMAND, id, ifname, args, path, config) => {
        const env = {
          CNI_COMMAND,
          CNI_CONTAINERID: id,
          CNI_NETNS: path,
          CNI_IFNAME: ifname,
          CNI_ARGS: args,
          CNI_PATH: path,
        };
        const read = readCall({ name: 'portcullis-bridge', environment: env, stdin: Buffer.from(config) });
        if (read.kind === 'error')
          assert.ok([1, 4, 5, 6, 7].includes(read.error.code) && read.error.msg !== '');
      }),
      { numRuns: 2000, seed: 7 },
    );
  });
});
