import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import { test } from 'node:test';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { toPortMappings } from './port-mappings.ts';
import { planSandbox } from './validate.ts';

function pod(part: Partial<PodSandboxConfig> = {}, linux: object = {}): PodSandboxConfig {
  const base = {
    metadata: { name: 'web', namespace: 'shop', uid: 'u-1', attempt: 2 },
    hostname: '',
    logDirectory: '',
    portMappings: [],
    labels: {},
    annotations: {},
  };
  return { ...base, linux: { cgroupParent: '', sysctls: {}, ...linux }, ...part };
}

test('a simple pod has its name, its host name and the default sysctls', () => {
  const plan = planSandbox(pod());
  assert.equal(plan.name, 'k8s_web_shop_u-1_2');
  assert.equal(plan.hostname, 'web');
  assert.equal(plan.sysctls['net.ipv4.ip_unprivileged_port_start'], '0');
});

test('a pod on the host’s network has the host’s name, and shares a PID namespace only if it requests this', () => {
  const host = planSandbox(pod({}, { securityContext: { namespaceOptions: { network: 2, pid: 0 } } }));
  assert.equal(host.hostname, hostname());
  assert.ok(host.sharedPids && !host.hostPid);
  assert.ok(!planSandbox(pod()).sharedPids);
});

test('names of other clients than a kubelet are accepted, and the host name has only valid characters', () => {
  const metadata = { name: 'Test/c 1', namespace: 'stop-SIGTERM signal (default)', uid: 'u+1', attempt: 0 };
  const plan = planSandbox(pod({ metadata }));
  assert.equal(plan.name, 'k8s_Test/c 1_stop-SIGTERM signal (default)_u+1_0');
  assert.equal(plan.hostname, 'Test-c-1');
});

test('a host name of 64 characters, as setHostnameAsFQDN allows, is not cut; one from the name of a pod is', () => {
  const longest = `${'a'.repeat(58)}.b.c-d`;
  assert.equal(planSandbox(pod({ hostname: longest })).hostname, longest);
  const metadata = { name: 'n'.repeat(80), namespace: 'b', uid: 'u', attempt: 0 };
  assert.equal(planSandbox(pod({ metadata })).hostname, 'n'.repeat(63));
});

for (const [name, config] of [
  ['no metadata', { ...pod(), metadata: undefined }],
  ['an empty uid', pod({ metadata: { name: 'a', namespace: 'b', uid: '', attempt: 0 } })],
  ['a uid with a slash', pod({ metadata: { name: 'a', namespace: 'b', uid: '../x', attempt: 0 } })],
  ['a namespace with a slash', pod({ metadata: { name: 'a', namespace: 'b/c', uid: 'u', attempt: 0 } })],
  ['a name with ..', pod({ metadata: { name: 'a/../b', namespace: 'b', uid: 'u', attempt: 0 } })],
  ['a name with a semicolon', pod({ metadata: { name: 'a;IP=1', namespace: 'b', uid: 'u', attempt: 0 } })],
  ['the namespace (cni)', pod({ metadata: { name: 'a', namespace: '(cni)', uid: 'u', attempt: 0 } })],
  ['a relative log folder', pod({ logDirectory: 'logs' })],
  ['a log folder with ..', pod({ logDirectory: '/var/../etc' })],
  ['a log folder with a line feed', pod({ logDirectory: '/var/log/a\nb' })],
  ['a log folder with a name of 256 bytes', pod({ logDirectory: `/var/log/${'x'.repeat(256)}` })],
  ['a log folder without space for a log', pod({ logDirectory: `${'/x'.repeat(2044)}/xx` })],
  ['a cgroup parent with ..', pod({}, { cgroupParent: '/pods/../../etc' })],
  ['a PID namespace of another container', pod({}, { securityContext: { namespaceOptions: { pid: 3 } } })],
  ['an unknown namespace mode', pod({}, { securityContext: { namespaceOptions: { network: 9 } } })],
  ['a host name with a line feed', pod({ hostname: 'a\nb' })],
  ['a host name that the kernel refuses', pod({ hostname: 'a'.repeat(65) })],
  [
    'a DNS server with a line feed',
    pod({ dnsConfig: { servers: ['1.1.1.1\nsearch evil'], searches: [], options: [] } }),
  ],
] as const) {
  test(`refused: ${name}`, () =>
    assert.throws(() => planSandbox(config as PodSandboxConfig), { code: 'RUNTIME_BAD_SANDBOX' }));
}

for (const [name, sysctls, options] of [
  ['a sysctl of the host', { 'kernel.core_pattern': '|/bin/x' }, {}],
  ['a value with + (CVE-2022-0811)', { 'kernel.shm_rmid_forced': '1+kernel.core_pattern=|/x' }, {}],
  ['a net sysctl on the host’s network', { 'net.core.somaxconn': '1' }, { network: 2 }],
  ['an ipc sysctl in the host’s IPC', { 'kernel.msgmax': '1' }, { ipc: 2 }],
  ['a path with ".."', { 'net.ipv4/../../kernel.core_pattern': '1' }, {}],
  ['a path with "..", in the form with slashes', { 'net/ipv4/../../kernel/core_pattern': '1' }, {}],
  ['an empty part', { 'net.ipv4..tcp_syncookies': '1' }, {}],
  ['the host’s name', { 'kernel.hostname': 'x' }, {}],
  ['a line feed in a value', { 'net.core.somaxconn': '1\n2' }, {}],
  ['a name of six million characters', { [`net.${'a.'.repeat(3e6)}b`]: '1' }, {}],
  ['a value of six million characters', { 'net.core.somaxconn': '1'.repeat(6e6) }, {}],
] as const) {
  test(`refused: ${name}`, () => {
    assert.throws(() => planSandbox(pod({}, { sysctls, securityContext: { namespaceOptions: options } })), {
      code: 'RUNTIME_BAD_SYSCTL',
    });
  });
}

test('slashes are interpreted by the first separator, as in sysctl(8)', () => {
  const plan = planSandbox(
    pod({}, { sysctls: { 'net/ipv4/conf/eth0.7/forwarding': '1', 'net.ipv4.conf.eth0/8.forwarding': '1' } }),
  );
  assert.equal(plan.sysctls['net.ipv4.conf.eth0/7.forwarding'], '1');
  assert.equal(plan.sysctls['net.ipv4.conf.eth0/8.forwarding'], '1');
});

test('sysctls of namespaces that the pod does not share with the host are accepted', () => {
  const plan = planSandbox(
    pod(
      {},
      {
        sysctls: { 'net.core.somaxconn': '1024', 'kernel.shm_rmid_forced': '1', 'fs.mqueue.msg_max': '100' },
      },
    ),
  );
  assert.equal(plan.sysctls['net.core.somaxconn'], '1024');
});

test('a user namespace without ranges of ids is refused', () => {
  assert.throws(
    () =>
      planSandbox(
        pod(
          {},
          { securityContext: { namespaceOptions: { usernsOptions: { mode: 0, uids: [], gids: [] } } } },
        ),
      ),
    {
      code: 'RUNTIME_BAD_USER_NAMESPACE',
    },
  );
});

test('port mappings: only mappings with a host port are used, and invalid mappings are refused', () => {
  assert.deepEqual(toPortMappings([{ protocol: 0, containerPort: 80, hostPort: 0, hostIp: '' }]), []);
  assert.deepEqual(
    toPortMappings([{ protocol: 1, containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' }]),
    [{ protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' }],
  );
  assert.throws(() => toPortMappings([{ protocol: 0, containerPort: 80, hostPort: 70_000, hostIp: '' }]), {
    code: 'RUNTIME_BAD_PORT',
  });
});
