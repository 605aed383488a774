import type { Plugin } from '../contract/contract.ts';
import type { Loopback } from './loopback-type.ts';

/** Brings up `lo`: `loopback` of the upstream plugins. In a chain it passes the previous result on. */
export const loopback: Plugin<undefined> = {
  type: 'loopback',
  role: 'interface',
  capabilities: [],
  read: () => undefined,
  plan(_config, { netns, prevResult, host }) {
    const resource: Loopback = { kind: 'loopback' };
    const result = prevResult ?? {
      interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: netns }],
      ips: [
        { address: '127.0.0.1/8', interface: 0 },
        ...(host.hasIpv6 ? [{ address: '::1/128', interface: 0 }] : []),
      ],
      routes: [],
      dns: {},
    };
    return { resources: [resource], result };
  },
};
