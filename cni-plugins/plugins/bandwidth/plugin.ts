import type { Fields } from '../../spec/fields.ts';
import type { Plugin } from '../contract/contract.ts';
import { linkNameOf, macOf } from '../interface/link-names.ts';
import { hostInterfaces, previousOf } from '../interface/previous.ts';
import { refuseFields } from '../interface/settings.ts';
import type { Limit } from './bucket.ts';
import type { TrafficLimit } from './traffic-limit.ts';

interface BandwidthConfig {
  /** Limit of what the pod receives. */
  readonly ingress?: Limit;
  /** Limit of what the pod sends. */
  readonly egress?: Limit;
}

/**
 * Limits the rate of the pod's traffic, in bits per second. Fields and semantics of the upstream plugin
 * bandwidth.
 */
export const bandwidth: Plugin<BandwidthConfig> = {
  type: 'bandwidth',
  role: 'chained',
  capabilities: ['bandwidth'],
  read(config) {
    refuseFields(config, {
      shapedSubnets: 'all traffic is limited',
      unshapedSubnets: 'all traffic is limited',
    });
    const isOwn = ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'].some((name) =>
      config.has(name),
    );
    const runtime = config.object('runtimeConfig')?.object('bandwidth');
    if (runtime !== undefined)
      refuseFields(runtime, {
        shapedSubnets: 'all traffic is limited',
        unshapedSubnets: 'all traffic is limited',
      });
    const source = isOwn ? config : runtime;
    const ingress = source === undefined ? undefined : readLimit(source, 'ingress');
    const egress = source === undefined ? undefined : readLimit(source, 'egress');
    return { ...(ingress === undefined ? {} : { ingress }), ...(egress === undefined ? {} : { egress }) };
  },
  plan({ ingress, egress }, input) {
    const previous = previousOf(input, 'bandwidth');
    if (ingress === undefined && egress === undefined) return { resources: [], result: previous };
    const ifb = { name: linkNameOf('bwp', input.key), mac: macOf('ifb', input.key) };
    const limit: TrafficLimit = {
      kind: 'traffic-limit',
      interface: input.key.interface,
      hostInterfaces: hostInterfaces(previous),
      ...(ingress === undefined ? {} : { toPod: ingress }),
      ...(egress === undefined ? {} : { fromPod: { ...egress, ifb: ifb.name, mac: ifb.mac } }),
    };
    return {
      resources: [limit],
      result: egress === undefined ? previous : { ...previous, interfaces: [...previous.interfaces, ifb] },
    };
  },
};

/** Reads both values or none; as in the upstream plugin, whose burst has 32 bits of bytes. */
function readLimit(fields: Fields, direction: 'ingress' | 'egress'): Limit | undefined {
  const [rateName, burstName] = [`${direction}Rate`, `${direction}Burst`];
  const rate = fields.whole(rateName) ?? 0;
  const burst = fields.whole(burstName) ?? 0;
  if (rate === 0 && burst === 0) return undefined;
  if (rate < 0) fields.problem(rateName, `${rate} is not a rate`);
  else if (burst < 0) fields.problem(burstName, `${burst} is not a burst`);
  else if (rate === 0) fields.problem(burstName, `'${burstName}' needs '${rateName}'`);
  else if (burst === 0) fields.problem(rateName, `'${rateName}' needs '${burstName}'`);
  else if (rate < 8) fields.problem(rateName, `${rate} bits a second is less than a byte a second`);
  else if (burst < 8) fields.problem(burstName, `${burst} bits is less than a byte`);
  else if (Math.floor(burst / 8) >= 0xffffffff) fields.problem(burstName, `${burst} bits is more than 4 GiB`);
  else return { rate, burst };
  return undefined;
}
