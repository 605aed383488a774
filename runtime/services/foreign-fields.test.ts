import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  ContainerConfig,
  PodSandboxConfig,
  UpdateContainerResourcesRequest,
} from '../cri/contract/contract.types.ts';
import {
  refuseForeignContainerFields,
  refuseForeignPodFields,
  refuseForeignUpdateFields,
} from './foreign-fields.ts';

test('settings of Windows and a cgroup namespace of a pod are refused, and their absence is not', () => {
  const refused = { code: 'RUNTIME_BAD_REQUEST', kind: 'invalid' };
  const windows = {};
  assert.throws(() => refuseForeignPodFields({ windows } as unknown as PodSandboxConfig), refused);
  assert.throws(() => refuseForeignContainerFields({ windows } as unknown as ContainerConfig), refused);
  assert.throws(
    () => refuseForeignUpdateFields({ windows } as unknown as UpdateContainerResourcesRequest),
    refused,
  );
  const namespaceOptions = { cgroupnsOptions: { mode: 1 } };
  assert.throws(
    () =>
      refuseForeignPodFields({
        linux: { securityContext: { namespaceOptions } },
      } as unknown as PodSandboxConfig),
    { ...refused, message: /cgroupns_options/ },
  );
  refuseForeignPodFields({ linux: {} } as unknown as PodSandboxConfig);
  refuseForeignPodFields(undefined);
  refuseForeignContainerFields(undefined);
  refuseForeignContainerFields({} as ContainerConfig);
  refuseForeignUpdateFields({} as UpdateContainerResourcesRequest);
});
