import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ContainerRecord } from '../record.ts';
import { restoreInput } from './restore-input.ts';

const restoredFrom = { imageId: 'i', imageRef: 'r', verdictId: 'v' };
const record = (change: Partial<ContainerRecord>): ContainerRecord =>
  ({ noNewPrivileges: false, ...change }) as ContainerRecord;
const namespaces = ['nsenter', '--uts=/pins/uts', '--ipc=/pins/ipc', '--'];

describe('restoreInput', () => {
  const of = (change: Partial<ContainerRecord>, seconds = 60): ReturnType<typeof restoreInput> =>
    restoreInput(record(change), { namespacesDir: '/pins' }, '/images', seconds);

  it('is absent for a container that is created', () => {
    assert.equal(of({}), undefined);
  });

  it('runs the runtime in the namespaces of the pod, and without new privileges', () => {
    const usual = { images: '/images', launcher: namespaces, options: [] };
    assert.deepEqual(of({ restoredFrom }), { ...usual, timeoutMs: 120_000 });
    assert.deepEqual(of({ restoredFrom, noNewPrivileges: true })?.launcher, [
      ...namespaces,
      'setpriv',
      '--no-new-privs',
    ]);
  });

  it('may take as long as a checkpoint, and not less time than the creation of a container', () => {
    assert.equal(of({ restoredFrom }, 600)?.timeoutMs, 600_000);
    assert.equal(of({ restoredFrom }, 1)?.timeoutMs, 120_000);
  });

  it('gives the labels of the request to criu, in place of those of the archive', () => {
    const options = (labels: ContainerRecord['labels']): readonly string[] | undefined =>
      of({ restoredFrom, ...(labels && { labels }) })?.options;
    assert.deepEqual(options({ apparmor: 'a' }), ['--lsm-profile', 'apparmor:a']);
    assert.deepEqual(options({ apparmor: 'unconfined' }), []);
    assert.deepEqual(options({ selinux: { process: 'p', mount: 'm' } }), [
      ...['--lsm-profile', 'selinux:p'],
      ...['--lsm-mount-context', 'm'],
    ]);
  });
});
