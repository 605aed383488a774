import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { ContainerConfig, PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { criCodec } from '../cri/contract/services.ts';
import { requestJson } from './request-json.ts';

it('a request is printed with the names and the omissions of containerd', () => {
  const containers = criCodec<ContainerConfig>('ContainerConfig');
  const config = containers.encode({
    metadata: { name: 'web' },
    logPath: 'web/0.log',
    envs: [{ key: 'A', value: Buffer.from('ä') }],
    annotations: { 'example.com/keepName': '' },
    mounts: [{ hostPath: '/a', containerPath: '/b', uidMappings: [{ hostId: 1, length: 2 }] }],
    CDIDevices: [{ name: 'a.com/b=c' }],
    linux: {
      securityContext: { privileged: true, runAsUser: { value: 7 }, maskedPaths: ['/proc/keys'] },
      resources: { memoryLimitInBytes: 5, hugepageLimits: [{ pageSize: '2MB', limit: 3 }] },
    },
  });
  assert.deepEqual(requestJson('ContainerConfig', containers.decode(config)), {
    metadata: { name: 'web' },
    envs: [{ key: 'A', value: 'ä' }],
    mounts: [{ container_path: '/b', host_path: '/a', uidMappings: [{ host_id: 1, length: 2 }] }],
    annotations: { 'example.com/keepName': '' },
    log_path: 'web/0.log',
    linux: {
      resources: { memory_limit_in_bytes: 5, hugepage_limits: [{ page_size: '2MB', limit: 3 }] },
      security_context: { privileged: true, run_as_user: { value: 7 }, masked_paths: ['/proc/keys'] },
    },
    CDI_devices: [{ name: 'a.com/b=c' }],
  });
  const pods = criCodec<PodSandboxConfig>('PodSandboxConfig');
  const pod = pods.encode({ logDirectory: '/var/log/pods/a', linux: { cgroupParent: '/kubepods' } });
  assert.deepEqual(requestJson('PodSandboxConfig', pods.decode(pod)), {
    log_directory: '/var/log/pods/a',
    linux: { cgroup_parent: '/kubepods' },
  });
});
