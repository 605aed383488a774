import type { EtcdClient } from '../../cni-plugins/overlay/etcd/client.ts';
import { encode, identitiesOf, keysOf } from '../../cni-plugins/overlay/records/records.ts';
import type { HostRecord } from '../../cni-plugins/overlay/records/records.ts';

/**
 * The lifecycle of many hosts, as etcd shows it: each arrives and moves its address; some leave and return,
 * some stay away.
 */

const keys = keysOf('shop');
const stepsAtOnce = 100;

interface Crowd {
  /** Written changes of keys. */
  readonly events: number;
  /** The final destination of each subnet. */
  readonly expected: ReadonlyMap<string, { readonly mac: string; readonly underlay: string }>;
}

/** @param taken subnets of 10.128.0.0/12 that others have */
export async function crowd(client: EtcdClient, size: number, taken: ReadonlySet<string>): Promise<Crowd> {
  const lease = await client.grant(3600);
  const expected = new Map<string, { mac: string; underlay: string }>();
  let events = 0;
  let steps: Parameters<EtcdClient['transact']>[1][number][] = [];
  const flush = async (): Promise<void> => {
    if (steps.length > 0) await client.transact([], steps);
    events += steps.length;
    steps = [];
  };
  const write = async (step: (typeof steps)[number]): Promise<void> => {
    steps.push(step);
    if (steps.length === stepsAtOnce) await flush();
  };
  const byte = (value: number): string => value.toString(16).padStart(2, '0');
  const recordOf = (index: number, life: number): HostRecord => ({
    id: `crowd-${index}`,
    underlay: `198.${18 + life}.${index >> 8}.${index & 255}`,
    vxlan: { mac: `02:cc:${byte(life)}:00:${byte(index >> 8)}:${byte(index & 255)}`, port: 4789 },
    mtu: 1450,
  });
  const free = Array.from(
    { length: 4096 },
    (_, number) => `10.${128 + (number >> 8)}.${number & 255}.0/24`,
  ).filter((subnet) => !taken.has(subnet));
  const subnetOf = (index: number): string => free[index]!;
  const subnet6Of = (index: number): string => `fd00:10:128:c${index.toString(16).padStart(3, '0')}::/64`;
  const come = async (index: number, life: number): Promise<void> => {
    const record = recordOf(index, life);
    const own = keys.own(`crowd-${index}`);
    for (const value of identitiesOf(record))
      await write({ put: { key: own.identity(value), value: encode({}) } });
    await write({ put: { key: own.record, value: encode(record), lease } });
    const former = identitiesOf(recordOf(index, 1 - life)).filter(
      (value) => !identitiesOf(record).includes(value),
    );
    for (const value of former) await write({ deleteRange: { key: own.identity(value) } });
    if (record.vxlan !== undefined)
      expected.set(subnetOf(index), { mac: record.vxlan.mac, underlay: record.underlay });
  };
  for (let index = 0; index < size; index += 1) {
    const claim = encode({ id: `crowd-${index}` });
    const own = keys.own(`crowd-${index}`);
    await write({ put: { key: own.subnet(subnetOf(index)), value: claim } });
    await write({ put: { key: own.subnet(subnet6Of(index)), value: claim } });
    await come(index, 0);
  }
  for (let index = 0; index < size; index += 1) await come(index, 1);
  for (let index = 0; index < size; index += 4)
    await write({ deleteRange: { key: keys.own(`crowd-${index}`).record } });
  await flush();
  for (let index = 0; index < size; index += 8) await come(index, 0);
  for (let index = 4; index < size; index += 8) expected.delete(subnetOf(index));
  await flush();
  return { events, expected };
}
