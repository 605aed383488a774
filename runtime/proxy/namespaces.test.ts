import assert from 'node:assert/strict';
import { it } from 'node:test';
import { criCodec } from '../cri/contract/services.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { ContainerConfig, PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { checkNamespaces } from './namespaces.ts';

const containers = criCodec<ContainerConfig>('ContainerConfig');
const pods = criCodec<PodSandboxConfig>('PodSandboxConfig');
type Options = NonNullable<NonNullable<Parameters<typeof pods.encode>[0]['linux']>['securityContext']>;
const withOptions = (namespaceOptions: Options['namespaceOptions']) => ({
  metadata: { name: 'one' },
  linux: { securityContext: { namespaceOptions: namespaceOptions ?? {} } },
});
const container = (options: Options['namespaceOptions']): ContainerConfig =>
  containers.decode(containers.encode(withOptions(options)));
const pod = (options: Options['namespaceOptions']): PodSandboxConfig =>
  pods.decode(pods.encode(withOptions(options)));
const ranges = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
const usernsOptions = { mode: NamespaceMode.POD, uids: ranges, gids: ranges } as const;

it('refuses a container that does not request the user namespace of its pod', () => {
  const own = pod({ usernsOptions });
  checkNamespaces(container({ usernsOptions }), own, own);
  const bare = containers.decode(containers.encode({ metadata: { name: 'one' } }));
  for (const config of [container({}), container({ usernsOptions: { mode: NamespaceMode.NODE } }), bare])
    assert.throws(() => checkNamespaces(config, own, pod({})), { code: 'RUNTIME_BAD_USER_NAMESPACE' });
  checkNamespaces(bare, pod({}), undefined);
  assert.throws(() => checkNamespaces(container({ usernsOptions }), pod({}), own), {
    code: 'RUNTIME_BAD_USER_NAMESPACE',
  });
});

it('refuses a namespace of the host that the pod does not have, in either description', () => {
  const host = { network: NamespaceMode.NODE } as const;
  checkNamespaces(container(host), pod(host), pod(host));
  for (const [asked, described] of [
    [host, {}],
    [{}, host],
    [{ ipc: NamespaceMode.NODE }, {}],
  ] as const)
    assert.throws(() => checkNamespaces(container(asked), pod({}), pod(described)), {
      code: 'RUNTIME_BAD_NAMESPACE',
    });
});
