import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { eventually, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { bridgeConf, createPluginFixture } from './plugin-engine.fixture.ts';
import type { Conf } from './plugin-engine.fixture.ts';

/** Advertises a default router and an address prefix to everyone on the link of `eth0`. */
const advertise = `import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
link = socket.if_nametoindex('eth0')
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
router = bytes([134, 0, 0, 0, 64, 0]) + struct.pack('!HII', 1800, 0, 0)
prefix = bytes([3, 4, 64, 0xc0]) + struct.pack('!III', 86400, 14400, 0)
s.sendto(router + prefix + socket.inet_pton(socket.AF_INET6, '2001:db8:bad::'), ('ff02::1', 0, 0, link))
`;

if (inPrivateNetns(import.meta.filename)) {
  const fixture = createPluginFixture();
  after(() => fixture.end());
  const { inside, pin, add, del } = fixture;
  const program = join(fixture.folder, 'advertise.py');
  writeFileSync(program, advertise);
  // The host sees what arrived, whatever it makes of it.
  const received = (): number =>
    Number(/^Icmp6InType134\s+(\d+)/mu.exec(shell('cat /proc/net/snmp6'))?.[1] ?? 0);
  const ipam = (subnet: string): object => ({ type: 'portcullis-ipam', ranges: [[{ subnet }]] });

  for (const conf of [
    bridgeConf({ ipam: ipam('10.90.0.0/24') }),
    { type: 'portcullis-ptp', ipMasq: true, ipam: ipam('10.91.0.0/24') },
  ] satisfies Conf[])
    test(`the host takes no router and no address that a pod advertises: ${conf.type}`, async () => {
      const netns = pin(conf.type);
      await add([conf], { id: conf.type, netns });
      await eventually(
        () => inside(netns, 'ip -6 -o address show dev eth0 -tentative')?.includes('fe80:') || undefined,
      );
      const before = received();
      await eventually(() => {
        inside(netns, `python3 ${program}`);
        return received() > before || undefined;
      });
      assert.equal(shell('ip -6 route show default'), '');
      assert.doesNotMatch(shell('ip -6 -o address'), /2001:db8:bad/u);
      await del([conf], { id: conf.type, netns });
    });
}
