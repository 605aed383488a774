export interface ArMember {
  /** At most 15 characters. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Writes an ar archive as deb(5) describes it: members of root with mode 100644, each padded to an even
 * length.
 * @param time time of every member, in seconds since 1970
 */
export function arOf(members: readonly ArMember[], time: number): Buffer {
  const parts: Uint8Array[] = [Buffer.from('!<arch>\n')];
  for (const { name, bytes } of members) {
    const fields = [
      name.padEnd(16),
      String(time).padEnd(12),
      '0'.padEnd(6),
      '0'.padEnd(6),
      '100644'.padEnd(8),
      String(bytes.length).padEnd(10),
    ];
    parts.push(Buffer.from(`${fields.join('')}\`\n`), bytes);
    if (bytes.length % 2 === 1) parts.push(Buffer.from('\n'));
  }
  return Buffer.concat(parts);
}
