import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostRequest } from './host-request.ts';
import { addedMountPoints } from './mounts.ts';

test('mounts of CDI devices and of the node are those that a request does not name', async () => {
  const bind = (destination: string, source: string, options = ['rbind']) => ({
    ...{ destination, source, options },
    type: 'bind',
  });
  const request = {
    sources: [{ mount: { containerPath: '/srv/volume' }, path: '/proc/self' }],
    edits: {
      mounts: [bind('/srv/./system', '/'), bind('/opt/system', '/'), bind('/srv/one', '/', ['bind'])],
    },
  } as unknown as Pick<HostRequest, 'edits' | 'sources'>;
  const points = await addedMountPoints(request, ['/srv']);
  for (const point of ['/srv/system', '/srv/system/proc', '/opt/system', '/srv/one'])
    assert.ok(points.includes(point), point);
  for (const point of ['/opt/system/proc', '/srv/one/proc']) assert.ok(!points.includes(point), point);
});
