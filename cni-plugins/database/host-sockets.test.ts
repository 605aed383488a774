import assert from 'node:assert/strict';
import { test } from 'node:test';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { isListenedAt } from './host-sockets.ts';

// In a separate file, because another test could free a descriptor while all are in use.
for (const protocol of ['sctp', 'tcp', 'udp'] as const)
  for (const hostIp of ['', '127.0.0.1'])
    test(`a port does not count as free while no descriptor is free (${protocol} '${hostIp}')`, () => {
      const end = { protocol, port: 29_517, hostIp };
      assert.equal(isListenedAt(end), false);
      const descriptors = holdDescriptors();
      try {
        descriptors.fill();
        assert.throws(() => isListenedAt(end), /EMFILE/u);
      } finally {
        descriptors.release();
      }
    });
