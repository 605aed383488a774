const begin = /^-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*$/;
const privateBlock = '-----BEGIN PGP PRIVATE KEY BLOCK';
const end = /^-----END PGP PUBLIC KEY BLOCK-----[ \t]*$/;

/** Why a file is no file of public keys: its content must not be copied any further. */
export const holdsPrivateKey = 'it contains a private key; a policy names public keys';

/**
 * Removes the ASCII armor from public keys (RFC 9580 section 6); one file may contain several blocks. Bytes
 * that are not armored are returned unchanged. The checksum at the end of a block is skipped, as that section
 * requires: signatures protect keys.
 * @throws Error that states the fault and its line
 */
export function dearmor(bytes: Buffer): Buffer {
  // The first byte of a packet has its highest bit set; the first byte of a text does not.
  if (bytes.length === 0 || (bytes.readUInt8(0) & 0x80) !== 0) return bytes;
  const whole = bytes.toString('latin1');
  if (whole.includes(privateBlock)) throw new Error(holdsPrivateKey);
  const lines = whole.split(/\r?\n/);
  const blocks: Buffer[] = [];
  let index = 0;
  while ((index = nextBlock(lines, index)) < lines.length) {
    const first = index;
    index += 1;
    // Headers such as "Version: …" end with an empty line.
    while (/^[A-Za-z]+: /.test(lines[index] ?? '')) index += 1;
    if ((lines[index] ?? '').trim() !== '')
      throw new Error(`line ${index + 1}: an empty line is missing after the armor headers`);
    const text: string[] = [];
    for (index += 1; !end.test(lines[index] ?? ''); index += 1) {
      const line = lines[index];
      if (line === undefined) throw new Error(`line ${first + 1}: the block that begins here has no end`);
      if (!line.startsWith('=')) text.push(decodable(line.trim(), index));
    }
    blocks.push(Buffer.from(text.join(''), 'base64'));
  }
  if (blocks.length === 0)
    throw new Error('line 1: it contains neither OpenPGP packets nor a "BEGIN PGP PUBLIC KEY BLOCK"');
  return Buffer.concat(blocks);
}

function nextBlock(lines: readonly string[], from: number): number {
  let index = from;
  while (index < lines.length && !begin.test(lines[index] ?? '')) index += 1;
  return index;
}

function decodable(line: string, index: number): string {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(line)) throw new Error(`line ${index + 1}: this is not base64`);
  return line;
}
