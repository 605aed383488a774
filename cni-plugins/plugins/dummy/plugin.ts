import type { CniDns } from '../../spec/result.ts';
import type { Plugin } from '../contract/contract.ts';
import { requireFree } from '../interface/child-link.ts';
import { addressesMissing } from '../interface/failures.ts';
import { macOf } from '../interface/link-names.ts';
import { planInterface } from '../interface/plan-interface.ts';
import { readDns } from '../interface/settings.ts';
import type { DummyLink } from './dummy-link.ts';

interface DummyConfig {
  readonly dns?: CniDns;
}

/**
 * The pod's interface delivers nothing: it only holds addresses, which programs of the pod can use. Fields
 * and semantics of the upstream plugin dummy.
 */
export const dummy: Plugin<DummyConfig> = {
  type: 'dummy',
  role: 'interface',
  capabilities: ['ips', 'dns'],
  read(config) {
    const dns = readDns(config);
    return dns === undefined ? {} : { dns };
  },
  observe(_config, kernel, { key }) {
    requireFree(key.interface, kernel);
  },
  plan({ dns }, input) {
    if (input.addresses.length === 0) throw addressesMissing('dummy');
    const mac = macOf('dummy', input.key);
    const link: DummyLink = { kind: 'dummy-link', interface: input.key.interface, mac };
    return planInterface(input, {
      link,
      mac,
      addresses: input.addresses,
      routes: input.ipamRoutes,
      announces: false,
      ...(dns === undefined ? {} : { dns }),
    });
  },
};
