import type { Balancer, Destination, Family, VirtualServer } from '../../cni-plugins/services/model/model.ts';
import { becomeRouter, openHost } from '../../cni-plugins/services/switch/hosts.fixture.ts';
import type { TestHost } from '../../cni-plugins/services/switch/hosts.fixture.ts';
import { shell } from '../../cni-plugins/services/switch/hosts.fixture.ts';

/** A router that balances (this process), a client on its own link, three backends on one bridge. */
export interface Stage {
  readonly client: TestHost;
  readonly backends: readonly [TestHost, TestHost, TestHost];
  readonly balancer: Balancer;
  /** Returns a server at a new virtual address, with the three backends of weight 1 by default. */
  server(family: Family, more?: Partial<VirtualServer>): VirtualServer;
  destination(family: Family, backend: number, weight?: number): Destination;
  /** Returns addresses from which the client can connect, besides its own; always the same. */
  manyClients(family: Family, count: number): readonly string[];
  close(): Promise<void>;
}

export const tcpPort = 8080;
export const udpPort = 8081;
/** The router's own address at the client's link. */
export const routerAddress: Readonly<Record<Family, string>> = { 4: '10.1.0.1', 6: 'fd01::1' };

export async function openStage(open: () => Balancer): Promise<Stage> {
  becomeRouter();
  const client = await openHost('client', 1, 2);
  const [one, two, three] = [
    await openHost('b1', 2, 11),
    await openHost('b2', 2, 12),
    await openHost('b3', 2, 13),
  ];
  const backends = [one, two, three] as const;
  for (const backend of backends) {
    await backend.serve('tcp', '::', tcpPort);
    await backend.serve('udp', '0.0.0.0', udpPort);
    await backend.serve('udp', '::1', udpPort);
    await backend.serve('udp', backend.address6, udpPort);
  }
  client.run(
    'ip route add local 10.9.0.0/16 dev lo; ip -6 route add local fd09::/64 dev lo; sysctl -qw net.ipv6.ip_nonlocal_bind=1',
  );
  shell(`ip route add 10.9.0.0/16 via ${client.address}; ip -6 route add fd09::/64 via ${client.address6}`);
  // A client on the router itself needs some route to a virtual address.
  shell('ip route add 10.96.0.0/16 dev lo; ip -6 route add fd96::/64 dev lo');
  let addresses = 0;
  const destination = (family: Family, backend: number, weight = 1): Destination => ({
    address: family === 4 ? (backends[backend]?.address ?? '') : (backends[backend]?.address6 ?? ''),
    port: tcpPort,
    weight,
  });
  const balancer = open();
  balancer.reconcile([]);
  return {
    client,
    backends,
    balancer,
    destination,
    server(family, more = {}) {
      addresses += 1;
      const protocol = more.protocol ?? 'tcp';
      const server: VirtualServer = {
        service: `service-${addresses}`,
        portName: 'main',
        kind: 'virtual',
        family,
        ...(more.kind === 'node'
          ? {}
          : { address: family === 4 ? `10.96.0.${addresses}` : `fd96::${addresses.toString(16)}` }),
        protocol,
        port: 80,
        scheduler: 'rr',
        clientAffinity: false,
        forwarding: 'nat',
        sourceAddress: 'keep',
        destinations: [0, 1, 2].map((backend) => destination(family, backend)),
        ...more,
      };
      if (protocol !== 'udp') return server;
      return { ...server, destinations: server.destinations.map((each) => ({ ...each, port: udpPort })) };
    },
    manyClients: (family, count) =>
      Array.from({ length: count }, (_, index) =>
        family === 4 ? `10.9.${1 + (index >> 7)}.${1 + (index & 0x7f)}` : `fd09::${(index + 1).toString(16)}`,
      ),
    async close() {
      balancer.removeAll();
      balancer.close();
      for (const host of [client, ...backends]) await host.stop();
    },
  };
}
