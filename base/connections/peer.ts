/**
 * Returns the key under which a network address counts as one peer: the IPv4 address, even if it is written
 * as IPv6; for IPv6 the first 64 bits, because one host can use any address of its subnet.
 * @param address in the form of Node's `remoteAddress`; all connections without an address count as one peer
 */
export function networkPeer(address: string | undefined): string {
  if (address === undefined) return '';
  const [plain = ''] = address.split('%');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/iu.exec(plain)?.[1];
  if (mapped !== undefined || !plain.includes(':')) return mapped ?? plain;
  const [before = '', after] = plain.split('::');
  const first = before === '' ? [] : before.split(':');
  const last = after === undefined || after === '' ? [] : after.split(':');
  const zeros = after === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  const groups = [...first, ...Array.from({ length: zeros }, () => '0'), ...last].slice(0, 4);
  return `${groups.map((group) => group.toLowerCase().replace(/^0+(?=.)/u, '')).join(':')}::/64`;
}
