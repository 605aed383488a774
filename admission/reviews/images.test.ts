import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reviewedImages } from './images.ts';
import type { ReviewedImages } from './images.ts';

const custom = (parts: object): object => ({
  ...{ apiVersion: 'argoproj.io/v1alpha1', kind: 'Workflow', metadata: { name: 'w' } },
  ...parts,
});

function reviewed(object: object, oldObject?: object): ReviewedImages {
  const operation = oldObject === undefined ? 'CREATE' : 'UPDATE';
  const request = { uid: '1', namespace: 'shop', party: 'user ada', resource: 'workflows' };
  return reviewedImages({ ...request, operation, object, oldObject });
}

const namesOf = ({ images }: ReviewedImages): readonly string[] => images.map(({ reference }) => reference);

test('the items of a custom object are parts of it', () => {
  const items = [
    { container: { image: 'evil/a' } },
    { steps: [{ image: 'evil/b' }] },
    { apiVersion: 'v1', kind: 'ConfigMap', script: { image: 'evil/c' } },
    { baseImage: 'evil/d' },
    { taskRef: { name: 'build' } },
  ];
  const found = reviewed(custom({ items }));
  assert.deepEqual(namesOf(found), ['evil/a', 'evil/b', 'evil/c']);
  assert.deepEqual(
    found.images.map(({ path }) => path.slice(0, 2)),
    [
      ['items', 0],
      ['items', 1],
      ['items', 2],
    ],
  );
  assert.equal(found.unread.length, 2);
  assert.match(found.unread.join('\n'), /baseImage: "evil\/d" is not checked/u);
});

test('an image volume of a custom object is decided about, also where there is no list of containers', () => {
  const volumes = (image: unknown): object[] => [{ name: 'v', image }];
  const found = reviewed(
    custom({
      spec: {
        volumes: volumes({ reference: 'data/a' }),
        templates: [{ container: { image: 'app/a' }, volumes: volumes({ reference: 'data/b' }) }],
        template: { spec: { containers: [{ image: 'app/b' }], volumes: volumes({ reference: 'data/c' }) } },
      },
    }),
  );
  assert.deepEqual(namesOf(found).toSorted(), ['app/a', 'app/b', 'data/a', 'data/b', 'data/c']);
  assert.deepEqual([found.unread, found.problems], [[], []]);
  const other = reviewed(custom({ spec: { volumes: volumes({ name: 'data/d' }) } }));
  assert.deepEqual([other.unread.length, other.problems], [1, []]);
  assert.deepEqual(namesOf(reviewed(custom({ status: { volumes: volumes({ reference: 'data/e' }) } }))), []);
});

test('an object that is refused in any case is not read to its end', () => {
  const pod = (image: string): object => ({
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' } },
    spec: { containers: Array.from({ length: 5000 }, () => ({ image })) },
  });
  assert.equal(reviewed(pod('app/a')).images.length, 1001);
  assert.equal(reviewed(pod('app/ a')).problems.length, 1001);
  assert.deepEqual(reviewed(pod('app/a'), pod('app/a')).images, [], 'images that the object named before');
});

test('an image in the status of an object was not named before', () => {
  const containers = [{ name: 'a', image: 'evil/a' }];
  const reported = custom({ spec: {}, status: { containers } });
  assert.deepEqual(namesOf(reviewed(custom({ spec: { containers } }), reported)), ['evil/a']);
  const before = custom({ spec: { containers } });
  assert.deepEqual(namesOf(reviewed(custom({ spec: { containers }, status: { containers } }), before)), []);
});

test('a text that was broken before may stay, and may not change', () => {
  const patched = (image: string): object => custom({ spec: { podSpecPatch: `image: ${image}` } });
  assert.deepEqual(reviewed(patched('one'), patched('one')).problems, []);
  assert.match(reviewed(patched('two'), patched('one')).problems.join(), /images in a text are not read/u);
});
