import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { commandFile } from '../test/fixtures/command.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-network-command-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const conf = join(folder, 'net.d');

function network(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const places = [
    '--conf-dir',
    conf,
    '--root',
    join(folder, 'root'),
    '--admin-socket',
    join(folder, 'none.sock'),
  ];
  return spawnSync(process.execPath, [commandFile, 'network', ...args, ...places], { encoding: 'utf8' });
}

test('a network is created, listed, inspected and removed, without a daemon', () => {
  const empty = network('ls');
  assert.equal(empty.status, 1);
  assert.ok(empty.stdout.includes(`${conf}: the folder has no .conflist`), empty.stdout);
  assert.match(empty.stdout, /portcullis network create pods .*--conf-dir/u);
  const made = network(
    'create',
    'pods',
    '--subnet',
    '10.9.0.0/24',
    '--ipv6',
    'fd00:9::/64',
    '--gateway',
    '10.9.0.254',
    '--mtu',
    '1400',
    '--link',
    'br9',
  );
  assert.equal(made.stdout, `${conf}/50-pods.conflist\n`, made.stderr);
  const written = JSON.parse(readFileSync(join(conf, '50-pods.conflist'), 'utf8')) as {
    plugins: { mtu: number; dns: unknown; ipam: { ranges: unknown } }[];
  };
  assert.equal(written.plugins[0]?.mtu, 1400);
  assert.deepEqual(written.plugins[0].dns, {
    nameservers: ['10.9.0.254', 'fd00:9::1'],
    search: ['pods.portcullis.internal'],
  });
  assert.deepEqual(written.plugins[0].ipam.ranges, [
    [{ subnet: '10.9.0.0/24', gateway: '10.9.0.254' }],
    [{ subnet: 'fd00:9::/64' }],
  ]);

  const again = network('create', 'pods', '--subnet', '10.10.0.0/24');
  assert.deepEqual([again.status, /NETWORK_EXISTS/u.test(again.stderr)], [1, true]);
  for (const subnet of ['10.9.0.128/25', '10.8.0.0/15', 'fd00:9::/48']) {
    const taken = network('create', 'taken', '--subnet', subnet);
    assert.deepEqual(
      [taken.status, /of the network pods .* overlaps.*NETWORK_SUBNET_TAKEN/u.test(taken.stderr)],
      [1, true],
      taken.stderr,
    );
  }
  assert.equal(network('create', 'same', '--subnet', '10.9.0.0/24', '--link', 'br9').status, 0);
  assert.equal(network('rm', 'same').status, 0);
  assert.equal(
    network('create', 'lan', '--type', 'macvlan', '--link', 'eth0', '--subnet', '10.11.0.0/24').status,
    0,
  );
  const listed = network('ls').stdout;
  assert.match(
    listed,
    /^pods +in process +portcullis-bridge\/portcullis-ipam → portcullis-portmap → portcullis-firewall +10\.9\.0\.0\/24, fd00:9::\/64 +held +0 +0 of 253, 0 of 2\^64 /mu,
  );
  assert.match(listed, /^lan +in process +portcullis-macvlan\/portcullis-ipam +10\.11\.0\.0\/24 +refused /mu);

  const shown = JSON.parse(network('inspect', 'pods', '--output', 'json').stdout) as {
    name: string;
    attachments: unknown[];
    daemon: string;
  };
  assert.deepEqual([shown.name, shown.attachments], ['pods', []]);
  assert.match(shown.daemon, /does not answer/u);
  assert.equal(network('inspect', 'nothing').status, 1);
  assert.equal(network('gc').status, 4);
  assert.equal(network('rm', 'pods').status, 0);
  assert.ok(!existsSync(join(conf, '50-pods.conflist')));
  assert.equal(network('rm', 'pods').status, 1);
});

test('a new network that becomes the network of pods is announced by a note', () => {
  const own = join(folder, 'order.d');
  const makes = (...args: string[]): string => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [commandFile, 'network', 'create', ...args, '--conf-dir', own, '--root', join(folder, 'root')],
      {
        encoding: 'utf8',
      },
    );
    assert.equal(status, 0, stderr);
    return stderr;
  };
  assert.doesNotMatch(makes('pods', '--subnet', '10.20.0.0/24'), /pods get/u);
  assert.doesNotMatch(makes('shop', '--subnet', '10.21.0.0/24'), /pods get/u);
  assert.match(
    makes('apple', '--subnet', '10.22.0.0/24'),
    /^note: pods now get apple instead of pods, .*--order/mu,
  );
  assert.doesNotMatch(makes('ant', '--subnet', '10.23.0.0/24', '--order', '51'), /pods get/u);
});

test('an invalid network is not written, and leaves no file', () => {
  const before = readdirSync(conf);
  for (const wrong of [
    ['--subnet', '10.0.0.1/24'],
    ['--subnet', '10.1.0.0/16', '--mtu', '5'],
    ['--subnet', '127.1.0.0/16'],
    ['--subnet', '0.0.0.0/0'],
    ['--subnet', '224.1.0.0/16'],
    ['--ipv6', 'ff02::/64'],
    ['--ipv6', 'fe80::/64'],
    ['--ipv6', '::ffff:a00:0/112'],
    ['--ipv6', '10.1.0.0/16'],
    ['--subnet', '10.1.0.0/16', '--gateway', '10.1.255.255'],
    ['--subnet', '10.1.0.0/16', '--gateway', '10.1.0.1', '--gateway', '10.1.0.2'],
    ['--subnet', '10.1.0.0/16', '--link', 'lo'],
    ['--subnet', '10.1.0.0/16', '--link', 'lo', '--type', 'macvlan'],
    ['--subnet', '10.1.0.0/16', '--link', 'eth0', '--type', 'ptp'],
    ['--subnet', '10.1.0.0/16', '--pod-namespace', 'shop', '--pod-namespace', 'A b'],
    ['--subnet', '10.1.0.0/16', '--pod-namespace', 'n'.repeat(64)],
    ['--subnet', '10.1.0.0/16', '--ipv6', 'fd00:1::/64', '--mtu', '1279'],
  ])
    assert.equal(network('create', 'wrong', ...wrong).status, 2, wrong.join(' '));
  assert.equal(network('create', 'a/b', '--subnet', '10.0.0.0/24').status, 2);
  const long = network('create', 'n'.repeat(300), '--subnet', '10.0.0.0/24');
  assert.deepEqual([long.status, /150 characters at most/u.test(long.stderr)], [2, true], long.stderr);
  assert.equal(network('create', 'none').status, 2);
  assert.deepEqual(readdirSync(conf), before);
  writeFileSync(join(conf, '99-broken.conflist'), '{');
  assert.match(network('ls').stdout, /skipped: .*99-broken\.conflist:1:2/u);
});

test('an address or an alias that cannot be one is refused before anything is connected', () => {
  for (const wrong of [
    ['--ip', '10.90.0.300'],
    ['--alias', 'bad alias!'],
    ['--alias', 'web.example'],
  ]) {
    const { status, stderr } = network('connect', 'lan', '/run/netns/none', ...wrong);
    assert.deepEqual([status, stderr.includes(`'${wrong[0]}`)], [2, true], stderr);
  }
});

test('a network is refused if a plugin does not know one of its fields', () => {
  const own = mkdtempSync(join(folder, 'misspelled-'));
  const ipam = { type: 'host-local', ranges: [[{ subnet: '10.9.0.0/24' }]] };
  const plugins = [{ type: 'portcullis-bridge', brige: 'b', ipam }];
  writeFileSync(
    join(own, '10-pods.conflist'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'pods', plugins }),
  );
  const shown = (...args: string[]): { readonly status: number | null; readonly stdout: string } =>
    spawnSync(process.execPath, [commandFile, 'network', ...args, '--conf-dir', own], { encoding: 'utf8' });
  const reason = /refused.* unknown field "brige": did you mean 'bridge'\?/u;
  const { status, stdout } = shown('ls');
  assert.match(stdout, reason);
  assert.equal(status, 1);
  assert.match(shown('inspect', 'pods').stdout, reason);
});

test('descriptions of services for all hosts are refused when they are too large, before the daemon is asked', () => {
  const input = Buffer.alloc(32 * 1024 * 1024 + 1, 'a');
  const file = join(folder, 'large.yaml');
  writeFileSync(file, input);
  for (const given of ['-', file]) {
    const words = ['network', 'overlay', 'apply', '-f', given, '--admin-socket', join(folder, 'none.sock')];
    const { status, stderr } = spawnSync(process.execPath, [commandFile, ...words], {
      encoding: 'utf8',
      input,
    });
    assert.match(stderr, /larger than \d+ bytes.*\[CLI_FILE_UNREADABLE\]/u);
    assert.equal(status, 2);
  }
});
