import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseDeclaration } from './declaration.ts';
import { generateTypes } from './generate-types.ts';
import { criContract, rpcs } from './services.ts';

test('contract.types.ts is current', () => {
  const written = readFileSync(new URL('./contract.types.ts', import.meta.url), 'utf8');
  assert.equal(written, generateTypes(criContract), 'run `node runtime/cri/contract/generate-types.ts`');
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

const wrong: readonly {
  readonly name: string;
  readonly messages: Record<string, Record<string, string>>;
  readonly says: RegExp;
}[] = [
  { name: 'an unknown type', messages: { A: { b: '1 text' } }, says: /A\.b: unknown type "text"/ },
  {
    name: 'a number used twice',
    messages: { A: { b: '1 string', c: '1 string' } },
    says: /A: two fields share a number/,
  },
  { name: 'a field without number', messages: { A: { b: 'string' } }, says: /A\.b: unreadable field/ },
  { name: 'field number 0', messages: { A: { b: '0 string' } }, says: /A\.b: unreadable field/ },
];
for (const { name, messages, says } of wrong) {
  test(`a declaration is refused with ${name}`, () => {
    assert.throws(() => parseDeclaration({ package: 'p', messages }), says);
  });
}
