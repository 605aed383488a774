import { BadImage } from './strict-message.ts';

/** The first word of most images, and the second by the kind of the image (criu, include/magic.h). */
const commonMagic = 0x54564319;
const inventoryMagic = 0x58313116;

/** The kinds of images that are read, by the name of their file without its number. */
export const imageKinds: Readonly<Record<string, number>> = {
  inventory: inventoryMagic,
  pstree: 0x50273030,
  core: 0x55053847,
  ids: 0x54432030,
  fdinfo: 0x56213732,
  files: 0x56303138,
  fs: 0x51403912,
  seccomp: 0x64413049,
  mountpoints: 0x55563928,
  mm: 0x57492820,
  timens: 0x43114433,
};

/** The largest message of an image. Filters of system calls are the largest: 4096 filters of 32 KiB. */
const mostBytes = 16 * 1024 * 1024;

/**
 * Returns the messages of an image: each has its length before it (criu.org, "Images").
 * @param kind a key of {@link imageKinds}
 * @throws BadImage
 */
export function readImage(kind: string, bytes: Uint8Array, mostMessages: number): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (at: number): number => {
    if (at + 4 > bytes.length) throw new BadImage(`${kind}: cut off`);
    return view.getUint32(at, true);
  };
  const magic = imageKinds[kind];
  let at = 4;
  if (kind !== 'inventory') {
    if (word(0) !== commonMagic) throw new BadImage(`${kind}: unknown magic`);
    at = 8;
  }
  if (word(at - 4) !== magic) throw new BadImage(`${kind}: unknown magic`);
  const messages: Uint8Array[] = [];
  while (at < bytes.length) {
    const length = word(at);
    const end = at + 4 + length;
    if (length > mostBytes || end > bytes.length) throw new BadImage(`${kind}: cut off`);
    if (messages.push(bytes.subarray(at + 4, end)) > mostMessages)
      throw new BadImage(`${kind}: too many messages`);
    at = end;
  }
  return messages;
}

/** Returns the one message of an image. @throws BadImage */
export function readSingle(kind: string, bytes: Uint8Array): Uint8Array {
  const [message, more] = readImage(kind, bytes, 2);
  if (message === undefined || more !== undefined) throw new BadImage(`${kind}: not one message`);
  return message;
}
