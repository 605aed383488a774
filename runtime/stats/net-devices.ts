/** Counters of one network interface since it was created. */
export interface NetDevice {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/**
 * Parses the interfaces of `/proc/net/dev` except `lo`, in the kernel's order. Source: proc_net(5); two
 * header lines, then `NAME: 8 received, 8 sent`.
 */
export function parseNetDevices(text: string): NetDevice[] {
  return text.split('\n').flatMap((line) => {
    // The last colon counts, because an old alias has a colon in its name.
    const colon = line.lastIndexOf(':');
    const name = line.slice(0, Math.max(0, colon)).trim();
    const values = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/);
    if (name === '' || name === 'lo' || values.length < 16 || !values.every((value) => /^\d+$/.test(value)))
      return [];
    const [rxBytes, rxPackets, rxErrors, rxDropped, , , , , txBytes, txPackets, txErrors, txDropped] =
      values.map(Number) as Counters;
    return [{ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }];
  });
}

type N = number;
/** The first twelve of the sixteen counters. */
type Counters = [N, N, N, N, N, N, N, N, N, N, N, N];
