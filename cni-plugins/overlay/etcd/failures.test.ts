import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import { failureOf } from './failures.ts';

test('a denied call names the documents of networks and of groups of nodes, which both use etcd', () => {
  const error = Object.assign(new Error('denied'), {
    code: status.PERMISSION_DENIED,
    details: 'etcdserver: permission denied',
    metadata: new Metadata(),
  });
  const { failure } = failureOf('call Range', 'https://192.0.2.10:2379', error);
  assert.equal(failure.code, 'OVERLAY_ETCD_DENIED');
  assert.match(failure.fix ?? '', /docs\/overlay\.md .*docs\/node-state\.md/u);
});

test('the reason of a call without a connection is one sentence', () => {
  const error = Object.assign(new Error('unavailable'), {
    code: status.UNAVAILABLE,
    details:
      'No connection established. Last error: Error: connect ECONNREFUSED 192.0.2.10:2379. Resolution note: ',
    metadata: new Metadata(),
  });
  assert.equal(
    failureOf('call Range', 'https://192.0.2.10:2379', error).failure.why,
    'UNAVAILABLE: No connection established. Last error: Error: connect ECONNREFUSED 192.0.2.10:2379',
  );
});
