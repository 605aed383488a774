import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { added, inside, podImages, podSpec, replaced, whyRefused } from './pod.fixture.ts';
import { isCopied, isPlainPath, restorable } from './restorable.ts';
import { readersOf } from './read-rights.ts';
import type { Message } from './strict-message.ts';
import { encode } from './write-image.ts';

const noOwner = encode([1, 2, 3, 4, 5].map((field) => [field, 0] as const));
/** A message of `files.img`: a file or a folder. */
const regular = (name: string, more: { flags?: number; mode?: number; mount?: number } = {}): Uint8Array => {
  const { flags = 0, mode = 0o100644, mount = 220 } = more;
  const file = encode([
    ...([
      [1, 90],
      [2, flags],
      [3, 0],
      [5, noOwner],
      [6, name],
      [7, mount],
      [10, mode],
    ] as const),
  ]);
  return encode([
    [1, 1],
    [2, 90],
    [3, file],
  ]);
};
/** A message of `mountpoints`. */
const mount = (
  place: string,
  more: { fstype?: number; source?: string; options?: string; key?: string },
): Uint8Array =>
  encode([
    ...([
      [1, more.fstype ?? 5],
      [2, 900],
      [3, 901],
      [4, 110],
      [5, 0],
      [6, '/'],
      [7, place],
    ] as const),
    ...([
      [8, more.source ?? 'tmpfs'],
      [9, more.options ?? ''],
    ] as const),
    ...(more.key === undefined ? [] : ([[18, more.key]] as const)),
  ]);
const mounts = 'mountpoints-13.img';

describe('images of a checkpoint', () => {
  it('are restored if they have what the specification has', () => {
    const { refused, tmpfs, files, network, cgroupSets } = restorable(podImages(), podSpec);
    assert.deepEqual(refused, []);
    assert.deepEqual([...tmpfs.keys()].sort(), ['/dev', '/proc/acpi', '/sys/firmware']);
    assert.deepEqual(new Set(files.map(({ name }) => name)), new Set(['/bin/busybox', '/']));
    assert.equal(network, 10);
    assert.deepEqual(cgroupSets, [2, 3]);
  });

  const cases: Readonly<Record<string, readonly [Record<string, Uint8Array | undefined>, RegExp]>> = {
    'an image of another kind': [{ 'ghost-file-1.img': Buffer.alloc(0) }, /the image "ghost-file-1.img"/],
    'a name that leaves the folder': [{ '../core-1.img': Buffer.alloc(0) }, /the image "\.\.\/core-1.img"/],
    'old credentials': [{ 'creds-1.img': Buffer.alloc(0) }, /the image "creds-1.img"/],
    'another label': [replaced('core-32.img', 'portcullis-default', 'portcullis-defaulx'), /the label/],
    'a file of a volume': [added('files.img', regular('/etc/hosts')), /"\/etc\/hosts" is in the mount/],
    'a file of the kernel': [added('files.img', regular('/proc/sys/x')), /"\/proc\/sys\/x" is in the mount/],
    'a file of another mount': [added('files.img', regular('/tmp/x', { mount: 7 })), /in another mount/],
    'a path that leaves the root': [added('files.img', regular('/../x')), /"\/\.\.\/x" is not a plain path/],
    'a device': [added('files.img', regular('/tmp/sda', { mode: 0o060600 })), /has the mode 60600/],
    'a device with a state': [
      added('files.img', regular('/dev/tty', { mode: 0o020666 })),
      /"\/dev\/tty" is open/,
    ],
    'flags of an open that creates': [
      added('files.img', regular('/tmp/x', { flags: 0o101 })),
      /has the flags 0101/,
    ],
    'a file that sends signals': [
      added(
        'files.img',
        encode([
          [1, 2],
          [2, 91],
          [
            18,
            encode([
              [1, 91],
              [2, 1],
              [3, 1],
              [
                4,
                encode([
                  [1, 0],
                  [2, 0],
                  [3, 9],
                  [4, 0],
                  [5, 1],
                ]),
              ],
            ]),
          ],
        ]),
      ),
      /the descriptor 91 sends signals/,
    ],
    'a socket': [
      added(
        'files.img',
        encode([
          [1, 3],
          [2, 92],
          [16, encode([])],
        ]),
      ),
      /neither a file nor a pipe/,
    ],
    'a disk': [added(mounts, mount('/disk', { fstype: 0, source: '/dev/sda1' })), /"\/disk" is not in/],
    'a folder of the node': [
      added(mounts, mount('/host', { fstype: 17, options: 'lowerdir=/etc' })),
      /"\/host" is not in the specification/,
    ],
    'a second mount at one place': [
      added(mounts, mount('/etc/hosts', { key: '/etc/hosts' })),
      /occurs twice/,
    ],
    'a mount whose place leaves the root': [added(mounts, mount('/../x', {})), /is not a plain path/],
    'a volume in place of another': [
      replaced(mounts, '\x0a/etc/hosts', '\x0a/etc/shado'),
      /"\/etc\/shado" is not in the specification/,
    ],
    'an option that names a folder': [
      replaced(mounts, 'size=65536k', 'upperdir=/x'),
      /has the option "upperdir=\/x"/,
    ],
    'a source that is a device': [replaced(mounts, 'sysfs', '/dev/'), /"\/sys" has a source/],
    'a ring of asynchronous I/O': [
      { 'mm-1.img': withField('mm-1.img', encode([[16, encode([])]])) },
      /ring of async/,
    ],
    'a segment of System V': [
      { 'mm-1.img': withField('mm-1.img', area(1 | (1 << 10))) },
      /a mapping of the kind 0x401/,
    ],
    'a mapped file that is not listed': [
      { 'mm-1.img': withField('mm-1.img', area(1 | (1 << 6), 77)) },
      /a file with the number 77/,
    ],
    'a mapped file that is opened for more than access': [
      { 'mm-1.img': withField('mm-1.img', area(1 | (1 << 7), 1, 0o1002)) },
      /opens a mapped file with the flags 01002/,
    ],
    'a first process that is continued when the runtime ends': [
      inside('core-1.img', [5], encode([[8, 18]])),
      /process 1 gets the signal 18 when its parent ends/,
    ],
    'a process that is continued when its parent ends': [
      inside('core-32.img', [5], encode([[8, 18]])),
      /process 32 gets the signal 18 when its parent ends/,
    ],
    'a timer that continues its process': [
      inside('core-32.img', [3, 7], timer({ signal: 18 })),
      /process 32 has a timer that sends the signal 18/,
    ],
    'a timer that ends its process, and makes an orphan of a group': [
      inside('core-32.img', [3, 7], timer({ signal: 9 })),
      /process 32 has a timer that sends the signal 9/,
    ],
    'a timer for which criu would work for hours': [
      inside('core-1.img', [3, 7], timer({ id: 0x7fffffff })),
      /process 1 has a timer with a high number/,
    ],
    'a process in a session of the node': [
      replaced('pstree.img', '\b\x01\x10\0\x18\x01 \x01', '\b\x01\x10\0\x18\0 \0'),
      /process 1 is in a session of the node, process 1 is in a process group of the node/,
    ],
    'a plugin of criu': [
      { 'inventory.img': withField('inventory.img', encode([[12, 'x']])) },
      /the field plugins/,
    ],
    'an unreadable clock': [
      { 'timens-0.img': Buffer.from('19435654334411430100000000', 'hex') },
      /BadImage|Error/,
    ],
  };
  for (const [what, [changed, expected]] of Object.entries(cases))
    it(`are refused with ${what}`, () => {
      assert.match(whyRefused(changed), expected);
    });

  it('are refused with a filter, a right or a mount that only the specification restricts', () => {
    const { process, linux } = podSpec;
    const with_ = (change: Partial<typeof podSpec>): string => whyRefused({}, { ...podSpec, ...change });
    assert.match(
      with_({ linux: { ...linux, seccomp: {} } }),
      /process 1 has no filter .* process 32 has no filter/,
    );
    const capabilities = { ...process.capabilities, bounding: ['CAP_KILL'] };
    assert.match(with_({ process: { ...process, capabilities } }), /bounding capabilities beyond .*: CHOWN/);
    const ambient = { ...process.capabilities, ambient: ['CAP_KILL'] };
    assert.match(with_({ process: { ...process, capabilities: ambient } }), /ambient capabilities/);
    assert.match(with_({ root: { path: '/r', readonly: true } }), /the mount "\/" is writable/);
    const [first, ...rest] = podSpec.mounts;
    assert.ok(first);
    assert.match(with_({ mounts: rest }), /the mount "\/proc" is not in the specification/);
    const strict = [{ ...first, options: [...first.options, 'ro'] }, ...rest];
    assert.match(with_({ mounts: strict }), /"\/proc" lacks the option ro/);
    const scratch = { destination: '/scratch', type: 'tmpfs', source: 'tmpfs', options: [] };
    assert.match(
      whyRefused(added(mounts, mount('/scratch', {})), { ...podSpec, mounts: [...podSpec.mounts, scratch] }),
      /"\/scratch" is a temporary file system, whose files would be lost/,
    );
    const volume = { destination: '/data', type: 'bind', source: '/d', options: ['ro'] };
    assert.match(with_({ mounts: [...podSpec.mounts, volume] }), /the mount "\/data" is missing/);
  });

  it('are restored with signals that a stopped process does not notice', () => {
    const plain = [
      inside('core-32.img', [3, 7], timer({ signal: 14 })),
      inside('core-32.img', [5], encode([[8, 15]])),
    ];
    for (const changed of plain) assert.equal(whyRefused(changed), '');
  });

  it('name the files of mappings with the access with which criu opens them', () => {
    const accessOf = (...of: Parameters<typeof area>): number[] => {
      const changed = { 'mm-1.img': withField('mm-1.img', area(...of)) };
      const { files, refused } = restorable(podImages(changed), podSpec);
      assert.deepEqual(refused, []);
      return files.filter(({ name }) => name === '/bin/busybox').map(({ access }) => access);
    };
    const program = podFileId('/bin/busybox');
    assert.deepEqual(accessOf(1 | (1 << 6), program), [0]);
    assert.deepEqual(accessOf(1 | (1 << 7), program, 2), [0, 2]);
    assert.deepEqual(accessOf(1 | (1 << 7), program, undefined, 3), [0, 2]);
    assert.deepEqual(accessOf(1 | (1 << 6), program, undefined, 3), [0]);
  });

  it('are refused with so many mounts or filters that a comparison would take minutes', () => {
    const root = mount('/', {});
    const length = Buffer.alloc(4);
    length.writeUInt32LE(root.length);
    const entry = Buffer.concat([length, root]);
    const many = Buffer.concat([podImages().read(mounts), ...Array.from({ length: 60_000 }, () => entry)]);
    assert.match(whyRefused({ [mounts]: many }), /more mounts than the specification has/);
    const chain = Array.from({ length: 30_000 }, (_, index) =>
      encode([[1, encode([[1, 'x'], ...(index === 0 ? [] : ([[2, index - 1]] as const))])]]),
    );
    const filters = Buffer.concat(chain);
    length.writeUInt32LE(filters.length);
    const image = {
      'seccomp.img': Buffer.concat([podImages().read('seccomp.img').subarray(0, 8), length, filters]),
    };
    const threads = {
      ...image,
      ...inside(
        'core-1.img',
        [5],
        encode([
          [11, 2],
          [12, 29_999],
        ]),
      ),
    };
    assert.match(whyRefused(threads), /too many filters/);
  });

  it('do not need the bit no_new_privs, which criu 3.17 does not record', () => {
    assert.equal(whyRefused({}, { ...podSpec, process: { ...podSpec.process, noNewPrivileges: true } }), '');
  });

  it('are copied only if their names are known', () => {
    for (const name of ['core-1.img', 'pages-17.img', 'inventory.img']) assert.ok(isCopied(name), name);
    for (const name of ['seccomp.img', 'tmpfs-dev-4.tar.gz.img', 'core-1.img/x', 'core-.img', 'x-core-1.img'])
      assert.ok(!isCopied(name), name);
    assert.ok(isPlainPath('/a/b') && !isPlainPath('a') && !isPlainPath('/a//b') && !isPlainPath('/a/./b'));
  });
});

/** Adds a field to the one message of an image. */
function withField(name: string, field: Uint8Array): Buffer {
  const bytes = podImages().read(name);
  const head = name === 'inventory.img' ? 4 : 8;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length - head - 4 + field.length);
  return Buffer.concat([bytes.subarray(0, head), length, bytes.subarray(head + 4), field]);
}

/** A mapping of `mm`. */
function area(status: number, file = 0, flags?: number, prot = 1): Uint8Array {
  const vma = encode([
    [1, 4096],
    [2, 8192],
    [3, 0],
    [4, file],
    [5, prot],
    [6, 2],
    [7, status],
    [8, 1],
    ...(flags === undefined ? [] : ([[10, flags]] as const)),
  ]);
  return encode([[14, vma]]);
}

/** A timer of timer_create(2), which has a second left. */
function timer({ id = 0, signal = 14 }: { readonly id?: number; readonly signal?: number }): Uint8Array {
  const values = [id, 1, signal, 0, 0, 0, 0, 0, 1, 0];
  return encode([[4, encode(values.map((value, index) => [index + 1, value] as const))]]);
}

/** The number of a file in `files.img`. */
function podFileId(name: string): number {
  const files = readersOf(podImages()).many('files', 'File', 'files.img');
  const found = files.find(({ reg }) => (reg as Message | undefined)?.['name'] === name);
  return Number(found?.['id']);
}
