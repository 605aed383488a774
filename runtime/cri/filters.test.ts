import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContainerState, PodSandboxState } from './contract/contract.types.ts';
import { matchesLabels, resolveId, selectContainers, selectImages, selectPodSandboxes } from './filters.ts';

const pods = [
  { id: 'aaa111', state: PodSandboxState.SANDBOX_READY, labels: { app: 'web', tier: 'front' } },
  { id: 'aaa222', state: PodSandboxState.SANDBOX_NOTREADY, labels: { app: 'web' } },
  { id: 'bbb333', state: PodSandboxState.SANDBOX_READY, labels: {} },
];
const none = { id: '', labelSelector: {} };

const podRows: readonly {
  readonly name: string;
  readonly filter: Parameters<typeof selectPodSandboxes>[1];
  readonly ids: readonly string[];
}[] = [
  { name: 'no filter', filter: undefined, ids: ['aaa111', 'aaa222', 'bbb333'] },
  { name: 'an empty filter', filter: none, ids: ['aaa111', 'aaa222', 'bbb333'] },
  { name: 'a whole id', filter: { ...none, id: 'aaa222' }, ids: ['aaa222'] },
  { name: 'the beginning of one id', filter: { ...none, id: 'b' }, ids: ['bbb333'] },
  { name: 'the beginning of two ids', filter: { ...none, id: 'aaa' }, ids: [] },
  { name: 'an unknown id', filter: { ...none, id: 'c' }, ids: [] },
  {
    name: 'the state with number 0',
    filter: { ...none, state: { state: PodSandboxState.SANDBOX_READY } },
    ids: ['aaa111', 'bbb333'],
  },
  { name: 'a label', filter: { ...none, labelSelector: { app: 'web' } }, ids: ['aaa111', 'aaa222'] },
  { name: 'two labels', filter: { ...none, labelSelector: { app: 'web', tier: 'front' } }, ids: ['aaa111'] },
  {
    name: 'id and state that do not match the same container',
    filter: { ...none, id: 'aaa222', state: { state: PodSandboxState.SANDBOX_READY } },
    ids: [],
  },
];
for (const { name, filter, ids } of podRows) {
  test(`sandboxes by ${name}`, () => {
    assert.deepEqual(
      selectPodSandboxes(pods, filter).map((pod) => pod.id),
      ids,
    );
  });
}

const containers = [
  { id: 'c1', podSandboxId: 'aaa111', state: ContainerState.CONTAINER_CREATED, labels: { a: '' } },
  { id: 'c2', podSandboxId: 'aaa111', state: ContainerState.CONTAINER_RUNNING, labels: {} },
  { id: 'd3', podSandboxId: 'bbb333', state: ContainerState.CONTAINER_EXITED, labels: {} },
];
const all = { id: '', podSandboxId: '', labelSelector: {} };
const containerRows: readonly {
  readonly name: string;
  readonly filter: Parameters<typeof selectContainers>[1];
  readonly ids: readonly string[];
}[] = [
  { name: 'nothing', filter: all, ids: ['c1', 'c2', 'd3'] },
  { name: 'sandbox', filter: { ...all, podSandboxId: 'aaa111' }, ids: ['c1', 'c2'] },
  { name: 'the beginning of a sandbox id', filter: { ...all, podSandboxId: 'bbb' }, ids: ['d3'] },
  { name: 'an unknown sandbox', filter: { ...all, podSandboxId: 'x' }, ids: [] },
  { name: 'state', filter: { ...all, state: { state: ContainerState.CONTAINER_RUNNING } }, ids: ['c2'] },
  { name: 'a label with an empty value', filter: { ...all, labelSelector: { a: '' } }, ids: ['c1'] },
  {
    name: 'a sandbox and a container of another sandbox',
    filter: { ...all, id: 'd', podSandboxId: 'aaa111' },
    ids: [],
  },
];
for (const { name, filter, ids } of containerRows) {
  test(`containers by ${name}`, () => {
    assert.deepEqual(
      selectContainers(containers, filter).map((container) => container.id),
      ids,
    );
  });
}

const hex = 'ab'.repeat(32);
const images = [
  {
    id: `sha256:${hex}`,
    repoTags: ['docker.io/library/busybox:1', 'docker.io/library/busybox:latest'],
    repoDigests: [`docker.io/library/busybox@sha256:${hex}`],
  },
  { id: `sha256:${'cd'.repeat(32)}`, repoTags: ['localhost:5000/app:1'], repoDigests: [] },
];
const normalise = (name: string): string | undefined => {
  if (/\s/.test(name)) return undefined;
  const full = name.startsWith('localhost') ? name : `docker.io/library/${name}`;
  return /:[^/]+$/.test(full) ? full : `${full}:latest`;
};
const imageRows: readonly {
  readonly name: string;
  readonly wanted: string;
  readonly found: readonly number[];
}[] = [
  { name: 'nothing', wanted: '', found: [0, 1] },
  { name: 'id', wanted: `sha256:${hex}`, found: [0] },
  { name: 'the beginning of an id', wanted: 'abab', found: [0] },
  { name: 'tag', wanted: 'busybox:1', found: [0] },
  { name: 'a tag that does not exist', wanted: 'busybox:2', found: [] },
  { name: 'digest', wanted: `busybox@sha256:${hex}`, found: [0] },
  { name: 'repository', wanted: 'localhost:5000/app', found: [1] },
  { name: 'a text that is not a name', wanted: 'a b', found: [] },
];
for (const { name, wanted, found } of imageRows) {
  test(`images by ${name}`, () => {
    const filter = {
      image: { image: wanted, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
    };
    assert.deepEqual(
      selectImages(images, filter, normalise),
      found.map((index) => images[index]),
    );
  });
}

test('an exact id has precedence over a prefix of another id', () => {
  assert.equal(resolveId(['a', 'ab'], 'a'), 'a');
  assert.equal(resolveId(['ab', 'ac'], 'a'), undefined);
});

test('a selector does not see inherited keys', () => {
  assert.equal(matchesLabels({}, { constructor: 'x' }), false);
  assert.equal(matchesLabels({}, JSON.parse('{"toString":""}') as Record<string, string>), false);
});
