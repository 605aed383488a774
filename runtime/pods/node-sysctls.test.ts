import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { withNodeSysctls } from './node-sysctls.ts';

const pod = (sysctls: Record<string, string>, namespaces: object = {}): PodSandboxConfig =>
  ({
    linux: {
      cgroupParent: '/p',
      sysctls,
      securityContext: { namespaceOptions: { network: 0, pid: 1, ipc: 0, ...namespaces } },
    },
  }) as unknown as PodSandboxConfig;
const ofNode = { 'kernel.shmmax': '1000', 'net.core.somaxconn': '512' };

test('sysctls of the node are added, and a value of the pod takes precedence', () => {
  const added = withNodeSysctls(pod({ 'net.ipv4.tcp_syncookies': '1' }), ofNode);
  assert.deepEqual(added.config.linux?.sysctls, { ...ofNode, 'net.ipv4.tcp_syncookies': '1' });
  assert.equal(added.config.linux.cgroupParent, '/p');
  assert.deepEqual(added.ofNode, Object.keys(ofNode));

  const own = withNodeSysctls(pod({ 'net/core/somaxconn': '9' }), ofNode);
  assert.deepEqual(own.config.linux?.sysctls, { 'kernel.shmmax': '1000', 'net/core/somaxconn': '9' });
  assert.deepEqual(own.ofNode, ['kernel.shmmax'], 'its own value is for the ceiling to judge');
});

test('a kubelet that sends the same value sends a sysctl of the node', () => {
  const sent = pod({ 'kernel.shmmax': '1000', 'net.core.somaxconn': '512' });
  assert.deepEqual(withNodeSysctls(sent, ofNode), { config: sent, ofNode: Object.keys(ofNode) });
  const { ofNode: none } = withNodeSysctls(sent, {});
  assert.deepEqual(none, []);
});

test('a pod does not get the sysctls of a namespace that it shares with the host', () => {
  const onHost = withNodeSysctls(pod({}, { network: 2 }), ofNode);
  assert.deepEqual(onHost.config.linux?.sysctls, { 'kernel.shmmax': '1000' });
  const withIpc = withNodeSysctls(pod({}, { ipc: 2 }), ofNode);
  assert.deepEqual(withIpc.config.linux?.sysctls, { 'net.core.somaxconn': '512' });
  assert.deepEqual(withIpc.ofNode, ['net.core.somaxconn']);
  const named = withNodeSysctls(pod({}, { network: 2 }), { 'kernel.domainname': 'a.test' });
  assert.deepEqual(named.ofNode, [], 'a pod on the network of the host has the names of the host');
  const bare = withNodeSysctls({} as PodSandboxConfig, ofNode);
  assert.deepEqual(bare.config.linux?.sysctls, ofNode);
});
