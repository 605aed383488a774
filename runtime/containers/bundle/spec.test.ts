import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinedNamespaces } from './spec.ts';

const pod = { hostNetwork: false, hostIpc: false };
const sandbox = { namespacesDir: '/ns/1' };

test('a container joins the namespaces that its pod does not share with the host', () => {
  const ownPids = {};
  assert.deepEqual(joinedNamespaces({ plan: pod, sandbox, pidNamespace: ownPids }), {
    network: '/ns/1/net',
    uts: '/ns/1/uts',
    ipc: '/ns/1/ipc',
  });
  assert.deepEqual(
    joinedNamespaces({ plan: { ...pod, hostNetwork: true }, sandbox, pidNamespace: ownPids }),
    { ipc: '/ns/1/ipc' },
  );
  assert.deepEqual(joinedNamespaces({ plan: { ...pod, hostIpc: true }, sandbox, pidNamespace: ownPids }), {
    network: '/ns/1/net',
    uts: '/ns/1/uts',
  });
});

test('a container in a pod without separate namespaces joins only a shared PID namespace', () => {
  const plan = { hostNetwork: true, hostIpc: true };
  assert.deepEqual(joinedNamespaces({ plan, sandbox: {}, pidNamespace: { path: '/proc/7/ns/pid' } }), {
    pid: '/proc/7/ns/pid',
  });
});
