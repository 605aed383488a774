/** IPv4 addresses as numbers of 32 bits, as they are in DHCP messages. */

export const ipv4Text = (address: number): string =>
  [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');

/** @param text an address that was written by {@link ipv4Text} */
export const ipv4Number = (text: string): number =>
  text.split('.').reduce((number, part) => number * 256 + Number(part), 0) >>> 0;

export const maskOf = (length: number): number => (length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0);

/** Returns the length of a contiguous mask, or undefined. */
export function lengthOf(mask: number): number | undefined {
  const length = 32 - Math.round(Math.log2((~mask >>> 0) + 1));
  return maskOf(length) === mask ? length : undefined;
}

export const isWithin = (address: number, network: number, length: number): boolean =>
  (address & maskOf(length)) >>> 0 === (network & maskOf(length)) >>> 0;

/** Returns whether an interface can have the address: not 0/8, not loopback, not multicast or reserved. */
export const isUnicast = (address: number): boolean => {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
};

/** Returns the addresses of an option that lists them. Bytes that are no whole address are left out. */
export function addressesIn(option: Uint8Array | undefined): number[] {
  if (option === undefined) return [];
  const view = new DataView(option.buffer, option.byteOffset, option.byteLength);
  return Array.from({ length: Math.floor(option.length / 4) }, (_, index) => view.getUint32(index * 4));
}
