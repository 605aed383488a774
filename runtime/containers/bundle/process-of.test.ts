import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { ImageConfig } from '../../images/types.ts';
import { argumentsOf, environmentOf, workingDirOf } from './process-of.ts';

const image = (part: Partial<ImageConfig>): ImageConfig => ({
  architecture: 'amd64',
  os: 'linux',
  user: '',
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: '',
  volumes: [],
  labels: {},
  stopSignal: '',
  ...part,
});
const container = (part: Partial<ContainerConfig>): ContainerConfig =>
  ({ command: [], args: [], workingDir: '', envs: [], tty: false, ...part }) as ContainerConfig;

const commands: readonly [string, Partial<ContainerConfig>, Partial<ImageConfig>, readonly string[]][] = [
  ['the image’s entrypoint and cmd', {}, { entrypoint: ['/e'], cmd: ['c'] }, ['/e', 'c']],
  ['args replace cmd', { args: ['a'] }, { entrypoint: ['/e'], cmd: ['c'] }, ['/e', 'a']],
  ['command replaces both', { command: ['/x'] }, { entrypoint: ['/e'], cmd: ['c'] }, ['/x']],
  ['command and args', { command: ['/x'], args: ['y'] }, { entrypoint: ['/e'], cmd: ['c'] }, ['/x', 'y']],
  ['cmd alone', {}, { cmd: ['sh'] }, ['sh']],
];
for (const [name, asked, of, expected] of commands) {
  test(`arguments: ${name}`, () => assert.deepEqual(argumentsOf(container(asked), image(of)), expected));
}

test('arguments: a container without a program is refused', () => {
  assert.throws(() => argumentsOf(container({}), image({})), { code: 'RUNTIME_NO_COMMAND' });
});

test('environment: values of the container replace those of the image, which replace the default values', () => {
  const env = environmentOf(
    container({ envs: [{ key: 'A', value: Buffer.from('new=1') }] }),
    image({ env: ['A=old', 'PATH=/bin', 'B='] }),
    'host',
  );
  assert.deepEqual(env, ['PATH=/bin', 'HOSTNAME=host', 'A=new=1', 'B=']);
});

for (const [key, value] of [
  ['', 'v'],
  ['A=B', 'v'],
  ['A\nB', 'v'],
  ['A', 'a\0b'],
] as const) {
  test(`environment: ${JSON.stringify([key, value])} is refused`, () => {
    assert.throws(
      () => environmentOf(container({ envs: [{ key, value: Buffer.from(value) }] }), image({}), 'h'),
      {
        code: 'RUNTIME_BAD_ENVIRONMENT',
      },
    );
  });
}

test('environment: a value that is not UTF-8 is refused, and not changed', () => {
  assert.throws(
    () => environmentOf(container({ envs: [{ key: 'A', value: Uint8Array.from([0xff]) }] }), image({}), 'h'),
    {
      code: 'RUNTIME_BAD_ENVIRONMENT',
    },
  );
});

for (const dir of [
  '/proc/self/fd/7',
  'proc/self',
  '/a/../proc',
  '/../proc/self/fd/7',
  '/proc',
  '/./proc/1/cwd',
  '/a\0b',
]) {
  test(`working folder: ${JSON.stringify(dir)} of an image is refused (CVE-2024-21626)`, () => {
    assert.throws(() => workingDirOf(container({}), image({ workingDir: dir })), {
      code: 'RUNTIME_BAD_WORKING_DIR',
    });
  });
}

for (const dir of ['relative', '../relative', '.'])
  test(`working folder: ${JSON.stringify(dir)} is relative, and fails the start of the container`, () => {
    assert.throws(() => workingDirOf(container({ workingDir: dir }), image({})), {
      code: 'RUNTIME_CREATE_FAILED',
      kind: 'precondition',
    });
  });

test('working folder: the folder of the container takes precedence, and is normalized', () => {
  assert.equal(
    workingDirOf(container({ workingDir: '/srv//app/.' }), image({ workingDir: '/x' })),
    '/srv/app',
  );
  assert.equal(workingDirOf(container({ workingDir: '/tmp/../etc' }), image({})), '/etc');
  assert.equal(workingDirOf(container({}), image({ workingDir: '/../../srv' })), '/srv');
  assert.equal(workingDirOf(container({ workingDir: '/process/..' }), image({})), '/');
  assert.equal(workingDirOf(container({}), image({})), '/');
});
