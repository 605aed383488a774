import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { generateTypes } from '../../../base/protobuf/index.ts';
import { criContract, rpcs } from './services.ts';

test('contract.types.ts is current', () => {
  const written = readFileSync(new URL('./contract.types.ts', import.meta.url), 'utf8');
  assert.equal(
    written,
    generateTypes(criContract),
    'run `sh packaging/node base/protobuf/generate-types.ts runtime/cri/contract`',
  );
});

test('the contract has the 43 RPCs of cri-api 0.37: 37 of the runtime, 6 of images', () => {
  assert.equal(rpcs.length, 43);
  assert.equal(rpcs.filter((rpc) => rpc.service === 'ImageService').length, 6);
  assert.equal(
    rpcs.find((rpc) => rpc.key === 'runPodSandbox')?.path,
    '/runtime.v1.RuntimeService/RunPodSandbox',
  );
  const streams = rpcs.filter((rpc) => rpc.responseStream).map((rpc) => rpc.name);
  const named = [
    'StreamPodSandboxes',
    'StreamContainers',
    'StreamContainerStats',
    'StreamPodSandboxStats',
    'GetContainerEvents',
    'StreamPodSandboxMetrics',
    'StreamImages',
  ];
  assert.deepEqual(streams, named);
});
