import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { NETLINK_GENERIC } from '../../base/kernel/index.ts';
import {
  familyNumber,
  openNetlink,
  readWireguard,
  wireguardFamilyName,
  wireguardRequests,
} from '../../base/netlink/index.ts';
import type { WireguardPeerChange } from '../../base/netlink/index.ts';
import { parseIp, parsePrefix } from '../../base/addresses/index.ts';
import { openDataPlane } from './data-plane/data-plane.ts';
import { entriesOf, keyOf } from './data-plane/entries.ts';
import type { Own } from './data-plane/entries.ts';
import { openHostKeys } from './data-plane/keys.ts';

const shell = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' });

function hasWireguard(): boolean {
  try {
    shell('ip link add wg-probe type wireguard 2>/dev/null && ip link delete wg-probe');
    return true;
  } catch {
    return false;
  }
}

test(
  'the kernel encrypts packets to a host, accepts its next key, and is restored afterwards',
  { skip: !hasWireguard() && 'this kernel has no WireGuard' },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-wireguard-'));
    const generic = openNetlink(NETLINK_GENERIC);
    const [keys, farKeys] = [
      await openHostKeys(join(folder, 'near')),
      await openHostKeys(join(folder, 'far')),
    ];
    const dataPlane = openDataPlane(1, keys);
    try {
      // The other host: its link moves into a namespace of its own, and sends from here.
      shell(
        'mount -t tmpfs tmpfs /run/netns 2>/dev/null || mkdir -p /run/netns; ip netns add far; ip link add far type wireguard; ip link set lo mtu 1500',
      );
      const requests = wireguardRequests(familyNumber(generic, wireguardFamilyName)!, 'far');
      const setFar = (peers: readonly WireguardPeerChange[]): void =>
        generic.run(requests.setDevice({ peers }));
      generic.run(requests.setDevice({ privateKey: farKeys.current.privateKey, port: 51_821 }));
      const near = {
        endpoint: { address: parseIp('127.0.0.1')!, port: 51_820 },
        allowed: [parsePrefix('10.128.1.0/24')!],
      };
      const [first, second] = [keys.current.publicKey, keys.next.publicKey];
      setFar([{ publicKey: first, ...near }, { publicKey: second }]);

      const own = (): Own => ({
        record: {
          id: 'near',
          underlay: '127.0.0.1',
          mtu: 1440,
          wireguard: { publicKey: keys.current.publicKey, nextKey: keys.next.publicKey, port: 51_820 },
        },
        subnets: ['10.128.1.0/24'],
        networks: [{ prefix: parsePrefix('10.128.0.0/14')!, hostLength: 24 }],
      });
      const record = {
        id: 'far',
        underlay: '127.0.0.1',
        mtu: 1440,
        wireguard: { publicKey: farKeys.current.publicKey, nextKey: farKeys.next.publicKey, port: 51_821 },
      };
      const wanted = new Map(
        entriesOf({ host: 'far', record, subnets: ['10.128.2.0/24'] }, own()).map((entry) => [
          keyOf(entry),
          entry,
        ]),
      );
      assert.ok(dataPlane.secure(own()).length > 0);
      assert.ok(dataPlane.reconcile(own(), wanted).length > 0);
      assert.deepEqual(dataPlane.reconcile(own(), wanted), [], 'entries are read as they were written');
      const listed = readWireguard(
        generic.dump(
          wireguardRequests(familyNumber(generic, wireguardFamilyName)!, 'portcullis-wg').getDevice(),
        ),
      );
      assert.deepEqual(
        listed.peers.map(({ publicKey, allowed }) => [publicKey, allowed.length]).sort(),
        [
          [farKeys.current.publicKey, 1],
          [farKeys.next.publicKey, 0],
        ].sort(),
      );

      const ours = wireguardRequests(familyNumber(generic, wireguardFamilyName)!, 'portcullis-wg');
      const presharedKey = Buffer.alloc(32, 7).toString('base64');
      for (const publicKey of [farKeys.current.publicKey, farKeys.next.publicKey])
        generic.run(ours.setDevice({ mark: 7, peers: [{ publicKey, presharedKey }] }));
      assert.ok(dataPlane.reconcile(own(), wanted).length > 0, 'another program changed the link');
      const restored = readWireguard(generic.dump(ours.getDevice()));
      assert.deepEqual(
        [restored.mark, restored.peers.map((each) => each.hasPresharedKey)],
        [0, [false, false]],
      );
      assert.deepEqual(dataPlane.reconcile(own(), wanted), []);

      shell(
        'ip link set far netns far && ip -n far address add 10.128.2.0/32 dev far && ip -n far link set far up && ip -n far route add 10.128.0.0/14 dev far',
      );
      const ping = (): string =>
        shell('for time in $(seq 40); do busybox ping -c 1 -W 2 10.128.2.0 && exit; done; exit 1');
      assert.match(ping(), /1 packets received/u);
      const met = dataPlane.met().get(farKeys.current.publicKey);
      assert.ok(met !== undefined && met.handshakeMs > 0 && met.receivedBytes > 0 && met.sentBytes > 0);
      assert.deepEqual(dataPlane.reconcile(own(), wanted), [], 'and after they have met');

      // The far end knows the next key only by its name.
      await keys.announced(keys.next.publicKey);
      await keys.rotate();
      dataPlane.secure(own());
      assert.equal(keys.current.publicKey, second);
      assert.deepEqual(dataPlane.reconcile(own(), wanted), [], 'peers stay');
      // From here on the link is not in this namespace: its handshakes are read when it is back.
      shell(
        `sleep 5; ip -n far link set far down; nsenter --net=/run/netns/far ip link set far netns ${process.pid}`,
      );
      const atFar = readWireguard(generic.dump(requests.getDevice())).peers.find(
        ({ publicKey }) => publicKey === second,
      );
      assert.ok((atFar?.lastHandshakeMs ?? 0) > 0, 'the handshake used the next key, before any packet');
      setFar([{ publicKey: second, ...near }]);
      // A link that was down has forgotten its sessions: the near end retries after a while.
      shell(
        'ip link set far netns far && ip -n far address replace 10.128.2.0/32 dev far; ip -n far link set far up && ip -n far route add 10.128.0.0/14 dev far',
      );
      assert.match(ping(), /1 packets received/u);

      dataPlane.remove('portcullis-ov');
      assert.doesNotMatch(shell('ip -o link; nft list tables'), /portcullis/u);
    } finally {
      dataPlane.close();
      generic.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
