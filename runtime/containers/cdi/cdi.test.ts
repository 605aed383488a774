import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { OciSpec } from '../../oci/spec.types.ts';
import { readyEdits, withEdits } from './edits.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import { askedCdiDevices, qualifiedName } from './device-names.ts';
import { parseSpec } from './spec-file.ts';

const device = (containerEdits: object = { env: ['A=b'] }, name = 'one'): object => ({
  name,
  containerEdits,
});
const spec = (part: object = {}): string =>
  JSON.stringify({ cdiVersion: '0.3.0', kind: 'vendor.example/class', devices: [device()], ...part });

describe('CDI names', () => {
  for (const text of ['vendor.example/class=one', 'v/c=0', 'nvidia.com/gpu=GPU-1:2', 'a.b-c_d/e.f=x']) {
    it(`${text} is one`, () => assert.equal(qualifiedName(text).text, text));
  }
  for (const text of [
    '',
    'class=one',
    'v/c',
    'v/c=',
    '=x',
    'v/c/d=x',
    '0v/c=x',
    'v/-c=x',
    'v/c=x/y',
    'v/c=../x',
    'v/c=x\n',
    'v/c=-',
  ]) {
    it(`${JSON.stringify(text)} is none`, () =>
      assert.throws(() => qualifiedName(text), { code: 'RUNTIME_BAD_CDI_DEVICE' }));
  }

  it('are read from the field and from annotations, each once', () => {
    const asked = askedCdiDevices({
      CDIDevices: [{ name: 'v/c=one' }],
      annotations: {
        'cdi.k8s.io/b': 'v/c=three',
        'cdi.k8s.io/a': 'v/c=two,v/c=one',
        'other/cdi.k8s.io/': 'nonsense',
      },
    });
    assert.deepEqual(
      asked.map(({ text }) => text),
      ['v/c=one', 'v/c=two', 'v/c=three'],
    );
  });
});

describe('CDI specs', () => {
  it('are read from JSON and YAML', () => {
    assert.equal(typeof parseSpec(spec(), 'a.json'), 'object');
    const yaml =
      'cdiVersion: "0.5.0"\nkind: vendor.example/class\ndevices:\n- name: "0"\n  containerEdits: { deviceNodes: [{ path: /dev/x, hostPath: /dev/null }] }\n';
    assert.equal(typeof parseSpec(yaml, 'a.yaml'), 'object');
  });

  it('have octal file modes, as the libraries of CDI read them', () => {
    const modeOf = (mode: string): unknown => {
      const node = `{ path: /dev/x, type: c, major: 1, minor: 3, fileMode: ${mode} }`;
      const parsed = parseSpec(
        `cdiVersion: "0.5.0"\nkind: vendor.example/class\ndevices:\n- name: "0"\n  containerEdits: { deviceNodes: [${node}] }\n`,
        'a.yaml',
      );
      assert.ok(typeof parsed === 'object', JSON.stringify(parsed));
      return parsed.devices[0]?.containerEdits.deviceNodes?.[0]?.fileMode;
    };
    assert.deepEqual(['0640', '0o640', '416'].map(modeOf), [0o640, 0o640, 0o640]);
  });

  const problems: [string, string, RegExp][] = [
    ['nothing', '', /empty/],
    ['no kind', JSON.stringify({ cdiVersion: '0.3.0', devices: [device()] }), /`kind` is missing/],
    ['an invalid kind', spec({ kind: 'class' }), /not vendor\/class/],
    ['no device', spec({ devices: [] }), /empty list/],
    ['a device twice', spec({ devices: [device(), device()] }), /twice/],
    ['a device name that is a path', spec({ devices: [device({}, '../x')] }), /not a device name/],
    ['an unknown field', spec({ hostDevices: true }), /unknown field `hostDevices`/],
    ['an unknown version', spec({ cdiVersion: '9.0.0' }), /does not have the form/],
    [
      'a version that does not have its fields',
      spec({ devices: [device({ intelRdt: { closID: 'x' } })] }),
      /uses fields of 0\.7\.0/,
    ],
    [
      'network devices before 1.1',
      spec({
        cdiVersion: '1.0.0',
        devices: [device({ netDevices: [{ hostInterfaceName: 'a', name: 'b' }] })],
      }),
      /fields of 1\.1\.0/,
    ],
    [
      'a relative hook',
      spec({ devices: [device({ hooks: [{ hookName: 'poststop', path: 'bin/x' }] })] }),
      /does not have the form/,
    ],
    [
      'an unknown hook',
      spec({ devices: [device({ hooks: [{ hookName: 'always', path: '/bin/x' }] })] }),
      /not known here/,
    ],
    [
      'invalid permissions',
      spec({ devices: [device({ deviceNodes: [{ path: '/dev/x', permissions: 'rx' }] })] }),
      /does not have the form/,
    ],
    ['a variable without a value', spec({ devices: [device({ env: ['A'] })] }), /does not have the form/],
  ];
  for (const [what, text, expected] of problems) {
    it(`with ${what} do not count`, () => {
      const answer = parseSpec(text, 'spec.json');
      assert.ok(typeof answer === 'string', JSON.stringify(answer));
      assert.match(answer, expected);
    });
  }

  it('give a spec or a sentence for any text, never an exception', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const answer = parseSpec(text, 'x.json');
        assert.ok(typeof answer === 'string' && answer !== '');
      }),
      { numRuns: 300 },
    );
  });
});

describe('CDI edits', () => {
  const before = {
    process: { env: ['PATH=/bin', 'A=old'], user: { uid: 7, gid: 8, additionalGids: [8] } },
    mounts: [{ destination: '/lib', type: 'bind', source: '/a', options: [] }],
    linux: {
      devices: [{ path: '/dev/x', type: 'c', major: 1, minor: 1, fileMode: 0, uid: 0, gid: 0 }],
      resources: { devices: [] },
      readonlyPaths: ['/proc/sys'],
    },
  } as unknown as OciSpec;
  const node = { path: '/dev/x', type: 'c', major: 1, minor: 5, fileMode: 0o660, uid: 0, gid: 0 } as const;

  it('follow a link at an absolute source of a bind mount, unless the link itself is mounted', async () => {
    const facts = (path: string): Promise<object> =>
      path.endsWith('opt/driver')
        ? Promise.resolve({ path: '/opt/driver-1' })
        : Promise.reject(Object.assign(new Error('none'), { code: 'ENOENT' }));
    const from = (hostPath: string, more: object = {}) => ({ hostPath, containerPath: '/at', ...more });
    const { mounts } = await readyEdits(
      [
        {
          mounts: [
            from('/opt/driver'),
            from('/opt/missing'),
            from('opt/driver'),
            from('/opt/driver', { options: ['bind', 'copy-symlink'] }),
            from('/opt/driver', { type: 'overlay' }),
          ],
        },
      ],
      { facts } as unknown as Pick<HostPaths, 'facts' | 'ownFacts'>,
    );
    assert.deepEqual(
      mounts.map(({ source }) => source),
      ['/opt/driver-1', '/opt/missing', 'opt/driver', '/opt/driver', '/opt/driver'],
    );
  });

  it('replace entries with the same name or path, and add the rest', () => {
    const after = withEdits(before, {
      env: ['A=new', 'B=c'],
      devices: [{ node, access: 'rw', ownerGiven: { uid: false, gid: true } }],
      mounts: [
        { destination: '/lib/deep', type: 'bind', source: '/c', options: ['ro'] },
        { destination: '/lib', type: 'bind', source: '/b', options: ['ro'] },
      ],
      hooks: [{ hookName: 'createRuntime', path: '/bin/x', args: ['x'] }],
      additionalGids: [8, 9],
    });
    assert.deepEqual(after.process.env, ['PATH=/bin', 'A=new', 'B=c']);
    assert.deepEqual(after.process.user.additionalGids, [8, 9]);
    assert.deepEqual(
      after.mounts.map(({ destination, source }) => [destination, source]),
      [
        ['/lib', '/b'],
        ['/lib/deep', '/c'],
      ],
    );
    assert.deepEqual(
      after.linux.devices,
      [{ ...node, uid: 7, gid: 0 }],
      'a device belongs to the user of the container unless the spec names its owner',
    );
    assert.deepEqual(after.linux.resources.devices, [
      { allow: true, type: 'c', major: 1, minor: 5, access: 'rw' },
    ]);
    assert.deepEqual(after.hooks, { createRuntime: [{ path: '/bin/x', args: ['x'] }] });
  });

  it('with the permissions "none" create a node that cannot be opened', () => {
    const after = withEdits(before, {
      env: [],
      devices: [{ node, access: '', ownerGiven: { uid: true, gid: true } }],
      mounts: [],
      hooks: [],
      additionalGids: [],
    });
    assert.deepEqual(after.linux.resources.devices, []);
    assert.equal(after.hooks, undefined);
  });
});
