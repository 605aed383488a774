/**
 * What counts as one peer for an address of the network: an IPv4 address, also one that is written as IPv6; of IPv6 the first 64 bits, since one
 * host can take any address of its subnet.
 * @param address as Node writes `remoteAddress`; undefined counts as one peer with all others that have none
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
