/** Counters of one network interface since it was made. */
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

/** The interfaces of `/proc/net/dev` but `lo`, in the kernel's order. Source: proc_net(5); two lines of heading, then `NAME: 8 received, 8 sent`. */
export function parseNetDevices(text: string): NetDevice[] {
  return text.split('\n').flatMap((line) => {
    // The last colon: an old alias has one in its name.
    const colon = line.lastIndexOf(':');
    const name = line.slice(0, Math.max(0, colon)).trim();
    const values = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/);
    if (name === '' || name === 'lo' || values.length < 16 || !values.every((value) => /^\d+$/.test(value))) return [];
    const [rxBytes, rxPackets, rxErrors, rxDropped, , , , , txBytes, txPackets, txErrors, txDropped] = values.map(Number) as Sixteen;
    return [{ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }];
  });
}

type Sixteen = [number, number, number, number, number, number, number, number, number, number, number, number];
