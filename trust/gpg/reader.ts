/** Reads a packet's body from start to end. A step beyond its end throws an Error that names the packet. */
export interface Reader {
  readonly left: number;
  octet(): number;
  number(octets: 2 | 4): number;
  take(length: number): Buffer;
  /** Reads a multiprecision integer (RFC 9580 section 3.2): its bytes, without leading zeros. */
  integer(): Buffer;
  rest(): Buffer;
}

/** The largest key in use is RSA with 16384 bits. */
const maximumBits = 16384;

export function createReader(bytes: Buffer, what: string): Reader {
  let position = 0;
  const take = (length: number): Buffer => {
    if (position + length > bytes.length) throw new Error(`${what} is cut short at its byte ${bytes.length}`);
    position += length;
    return bytes.subarray(position - length, position);
  };
  return {
    get left() {
      return bytes.length - position;
    },
    octet: () => take(1).readUInt8(0),
    number: (octets) => take(octets).readUIntBE(0, octets),
    take,
    integer() {
      const bits = take(2).readUInt16BE(0);
      if (bits > maximumBits)
        throw new Error(`${what} contains a number of ${bits} bits, which is too large`);
      const value = take(Math.ceil(bits / 8));
      // A bit count that is too large is tolerated, as in other readers; only the value is compared.
      const first = value.findIndex((octet) => octet !== 0);
      return first < 0 ? Buffer.alloc(0) : value.subarray(first);
    },
    rest: () => take(bytes.length - position),
  };
}
