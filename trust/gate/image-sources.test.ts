import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readImageSources } from './image-sources.ts';

const good = 'registry.example/team/good:1';
const hidden = 'registry.example/team/hidden:1';

function imagesOf(text: string): readonly string[] {
  return readImageSources([{ file: 'all.yaml', text }], 'shop').map(({ reference }) => reference);
}

const containers = (image: string): object => ({ containers: [{ name: 'app', image }] });
const pod = (image: string, more: object = {}): object => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web' }, spec: containers(image) },
  ...more,
});

describe('images of a manifest', () => {
  it('include those of the items of an object of any kind, because kubectl applies them', () => {
    assert.deepEqual(imagesOf(JSON.stringify(pod(good, { items: [pod(hidden)] }))).toSorted(), [
      good,
      hidden,
    ]);
  });

  it('include those beside the items of a custom kind whose name ends in List', () => {
    const custom = {
      apiVersion: 'example.com/v1',
      kind: 'WorkList',
      items: [pod(good)],
      spec: containers(hidden),
    };
    assert.deepEqual(imagesOf(JSON.stringify(custom)), [good, hidden]);
  });

  it('include those of another group that uses the name of a known kind', () => {
    const tasks = [{ name: 'a', template: { spec: containers(hidden) } }];
    const custom = { apiVersion: 'batch.volcano.sh/v1alpha1', kind: 'Job', spec: { tasks } };
    assert.deepEqual(imagesOf(JSON.stringify(custom)), [hidden]);
    const both = { ...custom, spec: { template: { spec: containers(good) }, tasks } };
    assert.deepEqual(imagesOf(JSON.stringify(both)), [good, hidden]);
  });

  it('include those below a map that is called like a list of containers', () => {
    const custom = {
      apiVersion: 'example.com/v1',
      kind: 'App',
      containers: { main: { spec: containers(hidden) } },
    };
    assert.deepEqual(imagesOf(JSON.stringify(custom)), [hidden]);
  });

  it('are not read from a text that other readers of YAML divide into other lines', () => {
    for (const end of ['\r', '\u0085', '\u2028', '\u2029']) {
      const text = `kind: Pod\nspec:\n  containers: [{image: ${good}}]\n  # a${end}  initContainers: [{image: ${hidden}}]\n`;
      assert.throws(
        () => imagesOf(text),
        /all\.yaml:4:6: .*ends a line for some readers/,
        JSON.stringify(end),
      );
    }
    assert.deepEqual(imagesOf(`kind: Pod\r\nspec:\r\n  containers: [{image: ${good}}]\r\n`), [good]);
  });

  it('are not read from merge keys, which kubectl follows', () => {
    const text = `kind: List
more: &more
  initContainers: [{image: ${good}}]
items:
  - kind: Pod
    spec:
      <<: *more
      containers: [{image: ${good}}]
`;
    assert.throws(() => imagesOf(text), /all\.yaml:7:\d+: .*merge key/);
  });
});
