import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { counterImages } from './counter.fixture.ts';
import { readSingle } from './image-file.ts';
import { readMessage } from './messages.ts';
import { podImages } from './pod.fixture.ts';
import type { Message } from './strict-message.ts';
import { cgroupImage, encode, idsImage, netnsImage, seccompImage } from './write-image.ts';

const ours = Buffer.from('our filter');
const filtersOf = (image: Uint8Array): readonly Message[] =>
  readMessage('Seccomp', readSingle('seccomp', image))['filters'] as readonly Message[];
/** An image with the filters, each with the number of the filter before it. */
function seccomp(...filters: readonly (readonly [string, number?])[]): Uint8Array {
  const message = encode(
    filters.map(
      ([bytes, before]) =>
        [1, encode([[1, bytes], ...(before === undefined ? [] : ([[2, before]] as const)), [3, 4]])] as const,
    ),
  );
  const head = Buffer.from(counterImages().read('seccomp.img').subarray(0, 12));
  head.writeUInt32LE(message.length, 8);
  return Buffer.concat([head, message]);
}

describe('images that a restore writes', () => {
  it('have our filter as the oldest of every chain, whatever the archive has', () => {
    const given = seccomp(['allow all'], ['younger', 0], ['allow all, too'], ['youngest', 1]);
    const written = filtersOf(seccompImage(given, ours));
    assert.deepEqual(
      written.map(({ filter, prev, flags }) => [Buffer.from(filter as Uint8Array).toString(), prev, flags]),
      [
        ['our filter', undefined, undefined],
        ['younger', 0n, undefined],
        ['our filter', undefined, undefined],
        ['youngest', 1n, undefined],
      ],
    );
  });

  it('keep the filters of a container whose specification has none', () => {
    const [filter] = filtersOf(seccompImage(seccomp(['own']), undefined));
    assert.equal(Buffer.from(filter?.['filter'] as Uint8Array).toString(), 'own');
  });

  it('refuse filters that cannot be read in one way', () => {
    const given = Buffer.from(counterImages().read('seccomp.img'));
    assert.throws(() => seccompImage(given.subarray(0, 100), ours), /cut off/);
    assert.throws(() => seccompImage(Buffer.concat([given, given.subarray(8)]), ours), /not one message/);
  });

  it('make the IPC and UTS namespaces those of criu, and change no other', () => {
    const ofNode = { ipc: 3, uts: 4, pid: 1, net: 2, mnt: 6, user: 7, cgroup: 8, time: 5 };
    const given = podImages().read('ids-1.img');
    const before = readMessage('Ids', readSingle('ids', given));
    const after = readMessage('Ids', readSingle('ids', idsImage(given, ofNode)));
    assert.deepEqual({ ...after }, { ...before, ipc: 3n, uts: 4n });
  });

  it('have the forms that criu writes', () => {
    assert.deepEqual(Buffer.from(netnsImage()), Buffer.from(podImages().read('netns-10.img')));
    const own = Buffer.from(cgroupImage([2, 3], '/pod/c', true));
    const given = Buffer.from(podImages().read('cgroup.img'));
    assert.deepEqual(own.subarray(0, 8), given.subarray(0, 8));
    const member = encode([
      [1, ''],
      [2, '/pod/c'],
      [3, 6],
    ]);
    assert.ok(
      own.includes(
        encode([
          [
            1,
            encode([
              [1, 2],
              [2, member],
            ]),
          ],
          [
            1,
            encode([
              [1, 3],
              [2, member],
            ]),
          ],
        ]),
      ),
    );
    assert.ok(!Buffer.from(cgroupImage([2], '/pod/c', false)).includes(member));
  });
});
