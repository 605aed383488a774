import { readSingle } from './image-file.ts';
import { readMessage } from './messages.ts';
import type { NamespaceKind } from './rights.ts';
import type { Message } from './strict-message.ts';

/** The first word of most images, and the second by the kind of the image (criu, include/magic.h). */
const commonMagic = 0x54564319;
const magic = { ids: 0x54432030, seccomp: 0x64413049, netns: 0x55933752, cgroup: 0x59383330 } as const;

/** A field of a message: its number, and its value. */
type Field = readonly [number: number, value: bigint | number | string | Uint8Array];

/**
 * Returns the image of the filters of system calls. The oldest filter of every chain, which is the only one
 * without a filter before it, becomes `filter`: whatever the archive says, each process gets the filter of
 * its specification. Younger filters can only deny more (seccomp(2), "Return value").
 * @param given the image of the archive
 * @throws BadImage
 */
export function seccompImage(given: Uint8Array, filter: Uint8Array | undefined): Uint8Array {
  const filters = readMessage('Seccomp', readSingle('seccomp', given))['filters'] as readonly Message[];
  const written = filters.map((entry): Uint8Array => {
    const before = entry['prev'] as bigint | undefined;
    if (before === undefined && filter !== undefined) return encode([[1, filter]]);
    return encode([
      [1, entry['filter'] as Uint8Array],
      ...(before === undefined ? [] : ([[2, before]] as const)),
    ]);
  });
  return imageOf('seccomp', encode(written.map((entry) => [1, entry] as const)));
}

const idsFields = [
  ...['vm', 'files', 'fs', 'sighand', 'pid', 'net', 'ipc'],
  ...['uts', 'mnt', 'user', 'cgroup', 'time'],
];

/**
 * Returns the image of the numbers of a process, with those of its namespaces. A restored process inherits
 * the IPC and UTS namespaces of the pod from criu, so they are no namespaces that criu makes.
 * @param given the image of the archive
 * @param ofNode the numbers of the namespaces in which criu runs
 * @throws BadImage
 */
export function idsImage(
  given: Uint8Array,
  ofNode: Readonly<Record<NamespaceKind, number | undefined>>,
): Uint8Array {
  const ids = readMessage('Ids', readSingle('ids', given));
  const inherited: Readonly<Record<string, number | undefined>> = { ipc: ofNode.ipc, uts: ofNode.uts };
  const fields = idsFields.flatMap((name, index): Field[] => {
    const value = inherited[name] ?? (ids[name] as bigint | undefined);
    return value === undefined ? [] : [[index + 1, value]];
  });
  return imageOf('ids', encode(fields));
}

/** Returns the image of a network namespace that the runtime gives to criu under its key. */
export function netnsImage(): Uint8Array {
  // runc: libcontainer, criuNsToKey.
  return imageOf('netns', encode([[8, 'extRootNetNS']]));
}

/**
 * Returns the image of cgroups: every process is in the cgroup of the container, which is the root of a
 * cgroup namespace.
 * @param sets the numbers that the images of processes use
 * @param path of the cgroup, below each hierarchy
 */
export function cgroupImage(sets: readonly number[], path: string, hasNamespace: boolean): Uint8Array {
  const member = encode([
    [1, ''],
    [2, path],
    ...(hasNamespace ? ([[3, Buffer.byteLength(path)]] as const) : []),
  ]);
  const folder = encode([[1, path.replace(/^\//, '')]]);
  const controller = encode([
    [1, ''],
    [2, folder],
  ]);
  return imageOf(
    'cgroup',
    encode([
      ...sets.map(
        (set) =>
          [
            1,
            encode([
              [1, set],
              [2, member],
            ]),
          ] as const,
      ),
      [2, controller],
    ]),
  );
}

function imageOf(kind: keyof typeof magic, message: Uint8Array): Uint8Array {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(commonMagic, 0);
  head.writeUInt32LE(magic[kind], 4);
  head.writeUInt32LE(message.length, 8);
  return Buffer.concat([head, message]);
}

/** Returns a message of protobuf (protobuf.dev, "Encoding"). */
export function encode(fields: readonly Field[]): Uint8Array {
  return Buffer.concat(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'bigint' || typeof value === 'number')
        return [varint(BigInt(number) << 3n), varint(BigInt(value))];
      const bytes = Buffer.from(value);
      return [varint((BigInt(number) << 3n) | 2n), varint(BigInt(bytes.length)), bytes];
    }),
  );
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}
