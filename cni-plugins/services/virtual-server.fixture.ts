import type { VirtualServer } from './model/model.ts';

/** A typical service: TCP over IPv4, round robin, with two backends. */
export const webServer: VirtualServer = {
  service: 'web',
  portName: 'http',
  kind: 'virtual',
  family: 4,
  address: '10.96.0.1',
  protocol: 'tcp',
  port: 80,
  scheduler: 'rr',
  clientAffinity: false,
  forwarding: 'nat',
  sourceAddress: 'keep',
  destinations: [11, 12].map((number) => ({ address: `10.2.0.${number}`, port: 8080, weight: 1 })),
};
