import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readImageSources } from './image-sources.ts';

const good = 'registry.example/team/good:1';
const hidden = 'registry.example/team/hidden:1';

function imagesOf(text: string): readonly string[] {
  return readImageSources([{ file: 'all.yaml', text }], 'shop').questions.map(({ reference }) => reference);
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

  it('include those of templates of Argo Workflows, which have one container or a script', () => {
    const workflow = {
      apiVersion: 'argoproj.io/v1alpha1',
      kind: 'Workflow',
      spec: {
        templates: [
          { name: 'main', steps: [[{ name: 'a', template: 'run' }]] },
          { name: 'run', container: { image: good }, sidecars: [{ name: 's', image: 'r.example/side:1' }] },
          { name: 'script', script: { image: hidden, source: 'true' } },
        ],
      },
    };
    assert.deepEqual(imagesOf(JSON.stringify(workflow)).toSorted(), ['r.example/side:1', good, hidden]);
    const template = { container: { image: '{{inputs.parameters.image}}' } };
    assert.throws(
      () => imagesOf(JSON.stringify({ ...workflow, spec: { templates: [template] } })),
      /is not an image reference/,
    );
  });

  it('include those of steps, sidecars and the step template of Tekton, and a step elsewhere is a problem', () => {
    const task = (steps: readonly object[]): string =>
      JSON.stringify({
        apiVersion: 'tekton.dev/v1',
        kind: 'TaskRun',
        spec: {
          taskSpec: { stepTemplate: { image: 'r.example/base:1' }, steps, sidecars: [{ image: hidden }] },
        },
      });
    assert.deepEqual(imagesOf(task([{ name: 'a', image: good }])).toSorted(), [
      'r.example/base:1',
      good,
      hidden,
    ]);
    assert.throws(() => imagesOf(task([{ name: 'a', ref: { name: 'other' } }])), /is in another object/);
  });

  it('are not taken from texts and references that run as containers: these are problems', () => {
    const workflow = (template: object): string =>
      JSON.stringify({
        apiVersion: 'argoproj.io/v1alpha1',
        kind: 'Workflow',
        spec: { templates: [template] },
      });
    const run = (taskRef: object): string =>
      JSON.stringify({ apiVersion: 'tekton.dev/v1', kind: 'TaskRun', spec: { taskRef } });
    const container = { image: good };
    for (const text of [
      workflow({ container, podSpecPatch: `{"containers":[{"name":"main","Image":"${hidden}"}]}` }),
      workflow({ container, podSpecPatch: '{"containers":[{"name":"main","im\\u0061ge":"r/a"}]}' }),
      workflow({ container, podSpecPatch: '{{inputs.parameters.patch}}' }),
      workflow({ resource: { manifest: `kind: Pod\nspec: {containers: [{image: ${hidden}}]}` } }),
      workflow({ resource: { manifestFrom: { artifact: { name: 'a' } } } }),
      run({ resolver: 'bundles', params: [{ name: 'bundle', value: hidden }] }),
      run({ name: 'a', bundle: hidden }),
    ])
      assert.throws(() => imagesOf(text), /not read/, text);
    const limits = '{"containers":[{"name":"main","resources":{"limits":{"cpu":"1"}}}]}';
    assert.deepEqual(imagesOf(workflow({ container, podSpecPatch: limits })), [good]);
  });

  it('are not searched in fields called `steps` that have another meaning', () => {
    const rollout = {
      apiVersion: 'argoproj.io/v1alpha1',
      kind: 'Rollout',
      spec: { strategy: { canary: { steps: [{ setWeight: 20 }] } }, template: { spec: containers(good) } },
    };
    assert.deepEqual(imagesOf(JSON.stringify(rollout)), [good]);
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
    assert.deepEqual(imagesOf(`${good} # a\r\n# b\r\n`), [good], 'a list');
    assert.deepEqual(imagesOf(`kind: Pod\r\nspec:\r\n  containers: [{image: ${good}}]\r\n`), [good]);
  });

  it('are not hidden in a comment of a list by the end of a line that only kubectl knows', () => {
    for (const end of ['\u0085', '\u2028', '\u2029']) {
      // kubectl reads the Pod, and the last line as the rest of a text.
      const object = [
        'apiVersion: v1',
        'kind: Pod',
        `spec: ${JSON.stringify(containers(hidden))}`,
        'more: a',
      ];
      const text = `#${end}${object.join(end)}\n ${good}\n`;
      assert.throws(() => imagesOf(text), /all\.yaml:1:2: .*ends a line for some readers/);
    }
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

const tekton = (kind: string, name: string, spec: object, more: object = {}): object => ({
  ...{ apiVersion: 'tekton.dev/v1', kind, metadata: { name, ...more }, spec },
});
const run = (spec: object): object => tekton('TaskRun', 'run', spec);
const step = { steps: [{ name: 'a', image: good }] };

function unreadOf(objects: readonly object[], named: readonly string[] = []): readonly string[] {
  const sources = objects.map((object, index) => ({ file: `${index}.yaml`, text: JSON.stringify(object) }));
  const { unread } = readImageSources(sources, 'shop', named);
  return unread.map(({ place, why }) => `${place.file} ${place.object}: ${why}`);
}

describe('parts of a manifest that are not read', () => {
  it('include an object that a Tekton or Argo object refers to by name', () => {
    const argo = { apiVersion: 'argoproj.io/v1alpha1', kind: 'Workflow', metadata: { name: 'w' } };
    for (const [object, says] of [
      [
        run({ taskRef: { name: 'build' } }),
        /^0.yaml TaskRun shop\/run, taskRef: the images of the Task shop\/build/,
      ],
      [tekton('PipelineRun', 'run', { pipelineRef: { name: 'all' } }), /Pipeline shop\/all/],
      [run({ taskRef: { kind: 'ClusterTask', name: 'build' } }), /the ClusterTask build /],
      [
        { ...argo, spec: { templates: [{ steps: [[{ templateRef: { name: 'shared', template: 'x' } }]] }] } },
        /WorkflowTemplate shop\/shared/,
      ],
      [
        { ...argo, spec: { workflowTemplateRef: { name: 'all', clusterScope: true } } },
        /the ClusterWorkflowTemplate all /,
      ],
      [
        {
          apiVersion: 'argoproj.io/v1alpha1',
          kind: 'Rollout',
          spec: { workloadRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' } },
        },
        /Deployment shop\/web/,
      ],
    ] as const) {
      const [first = '', ...more] = unreadOf([object]);
      assert.match(first, says);
      assert.deepEqual(more, []);
    }
  });

  it('do not include an object that another source of the run has', () => {
    const ref = run({ taskRef: { name: 'build' } });
    assert.deepEqual(unreadOf([ref, tekton('Task', 'build', step)]), []);
    const wide = run({ taskRef: { kind: 'ClusterTask', name: 'build' } });
    assert.deepEqual(unreadOf([wide, tekton('ClusterTask', 'build', step)]), []);
  });

  it('include an object whose namesake in the run is of another namespace, kind or group', () => {
    const ref = run({ taskRef: { name: 'build' } });
    for (const other of [
      tekton('Task', 'build', step, { namespace: 'other' }),
      tekton('Pipeline', 'build', { tasks: [{ taskSpec: step }] }),
      { ...tekton('Task', 'build', step), apiVersion: 'example.com/v1' },
      { ...tekton('Task', 'build', step), metadata: { generateName: 'build' } },
    ])
      assert.equal(unreadOf([ref, other]).length, 1, JSON.stringify(other));
  });

  it('include a field of unknown meaning that may name an image, unless the run decides about that image', () => {
    const custom = (spec: object): object => ({ apiVersion: 'example.com/v1', kind: 'Database', spec });
    for (const spec of [
      { image: hidden },
      { backup: { runnerImage: hidden } },
      { image: { repository: 'registry.example/team/hidden', tag: 1 } },
      { imageName: hidden },
      { image: { name: 'registry.example/team/hidden', tag: 1 } },
      { image: { url: hidden } },
      { images: [hidden] },
      { relatedImages: [{ name: 'operand', image: hidden }] },
    ]) {
      const [first = '', ...more] = unreadOf([custom(spec)]);
      assert.match(first, /"registry.example\/team\/hidden:1" is not checked/);
      assert.deepEqual(more, []);
      assert.deepEqual(unreadOf([custom(spec)], [hidden]), []);
    }
  });

  it('include an object of a namespace whose kind only begins like one of the whole cluster', () => {
    const ref = run({ taskRef: { kind: 'ClusterTool', name: 'build' } });
    const other = tekton('ClusterTool', 'build', step, { namespace: 'other' });
    assert.equal(unreadOf([ref, other]).length, 1);
    assert.deepEqual(unreadOf([ref, tekton('ClusterTool', 'build', step)]), []);
  });

  it('include no map that is called like an image and names none', () => {
    const spec = { ...containers(good), image: { pullPolicy: 'Always' }, images: { retain: 3 } };
    assert.deepEqual(unreadOf([{ apiVersion: 'example.com/v1', kind: 'App', spec }]), []);
  });

  it('include no image that was read, no status, and no field of a built-in kind', () => {
    const custom = {
      apiVersion: 'example.com/v1',
      kind: 'App',
      spec: containers(good),
      status: { image: hidden },
    };
    assert.deepEqual(unreadOf([custom, pod(good, { status: { image: hidden } })]), []);
    assert.deepEqual(unreadOf([tekton('Task', 'build', step)]), []);
  });
});
