import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell, tried } from '../engine/engine.fixture.ts';
import type { Fixture, Pod } from '../engine/engine.fixture.ts';
import type { LinkRule, NetworkEngine } from '../types.ts';

/**
 * Traffic that connection tracking is configured to ignore, as in Kubernetes' NodeLocal DNSCache (NOTRACK for
 * 169.254.20.10, port 53).
 */
const ranges = [[{ subnet: '10.95.0.0/24' }], [{ subnet: 'fd00:95::/64' }]];
const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
const routed = {
  cniVersion: '1.0.0',
  name: 'routed',
  plugins: [{ type: 'portcullis-ptp', ipam: { type: 'host-local', ranges, routes } }],
};
const resolver = { 4: '169.254.20.10', 6: 'fd99::10' } as const;

/** A server that names itself over UDP and TCP. */
const server = (name: string, port: number): string => `
import socket, threading
def udp(s):
    while True:
        _, sender = s.recvfrom(99)
        s.sendto(b'${name}', sender)
def tcp(s):
    while True:
        connection, _ = s.accept()
        connection.sendall(b'${name}')
        connection.close()
for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
    for kind, serve in ((socket.SOCK_DGRAM, udp), (socket.SOCK_STREAM, tcp)):
        s = socket.socket(family, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Answers come from the address that was asked.
        s.bind((address if ${port} != 53 or kind == socket.SOCK_STREAM else '${resolver[4]}' if family == socket.AF_INET else '${resolver[6]}', ${port}))
        if kind == socket.SOCK_STREAM: s.listen(9)
        threading.Thread(target=serve, args=(s,)).start()
`;

if (inPrivateNetns(import.meta.filename, 240_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  const pods = new Map<string, Pod>();
  const pod = (name: string): Pod => pods.get(name) ?? assert.fail(name);
  const families = [4, 6] as const;
  const protocols = ['udp', 'tcp'] as const;
  const addressOf = (name: string, family: 4 | 6): string =>
    engine.get(pod(name).request.id)?.ips[family === 4 ? 0 : 1]?.address.split('/')[0] ?? '';
  const attach = async (name: string, selected: boolean): Promise<void> => {
    const made = fixture.pod(name, {
      pod: { name, namespace: 'default', uid: name, labels: { selected: String(selected) } },
    });
    pods.set(name, made);
    await engine.attach(made.request);
    await engine.setClass(made.request.id, 'user');
    start(name, `--net=${made.request.netns}`, 8080);
  };
  const start = (name: string, net: string | undefined, port: number): void => {
    const file = join(fixture.folder, `${name}.py`);
    writeFileSync(file, server(name, port));
    if (net === undefined) fixture.start('python3', file);
    else fixture.start('nsenter', net, 'python3', file);
  };
  /** A denied connection is silence for this many seconds. */
  const asks = (
    from: string,
    protocol: 'tcp' | 'udp',
    target: string,
    port: number,
    seconds = 1,
  ): string | undefined => {
    const family = target.includes(':') ? 'AF_INET6' : 'AF_INET';
    const kind = protocol === 'udp' ? 'SOCK_DGRAM' : 'SOCK_STREAM';
    const script = `import socket; s = socket.socket(socket.${family}, socket.${kind}); s.settimeout(${seconds}); s.connect(("${target}", ${port})); s.send(b"who"); print(s.recv(99).decode())`;
    const command = `python3 -c '${script}'`;
    return (
      from === 'host'
        ? tried(`${command} 2>&-`)
        : pod(from).run(`sh -c "${command.replaceAll('"', '\\"')} 2>&-"`)
    )?.trim();
  };
  const answers = async (
    from: string,
    protocol: 'tcp' | 'udp',
    target: string,
    port: number,
  ): Promise<string> => eventually(() => asks(from, protocol, target, port, 3), 20_000);

  before(async () => {
    fixture = createFixture();
    mkdirSync(join(fixture.folder, 'policies'));
    const spec = { podSelector: { matchLabels: { selected: 'true' } }, policyTypes: ['Ingress', 'Egress'] };
    const deny = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'deny', namespace: 'default' },
      spec,
    };
    writeFileSync(join(fixture.folder, 'policies', 'deny.json'), JSON.stringify(deny));
    shell(
      'ip link add nodelocaldns type bridge; ip link set nodelocaldns up; ip addr add 169.254.20.10/32 dev nodelocaldns; ip -6 addr add fd99::10/128 dev nodelocaldns nodad',
    );
    engine = await fixture.engine();
    await attach('bridged', true);
    await attach('open', false);
    writeFileSync(join(fixture.confDir, '05-routed.conflist'), JSON.stringify(routed));
    await attach('routed', true);
    start('resolver', undefined, 53);
    const untracked = ['tcp', 'udp'].flatMap((protocol) =>
      [53, 8080].flatMap((port) => [
        `${protocol} dport ${port} notrack`,
        `${protocol} sport ${port} notrack`,
      ]),
    );
    shell(
      `nft 'table inet raw { chain prerouting { type filter hook prerouting priority raw; ${untracked.join('; ')}; }; chain output { type filter hook output priority raw; ${untracked.join('; ')}; }; }'`,
    );
    await eventually(() => asks('host', 'tcp', resolver[4], 53), 20_000);
  });
  after(async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });

  test('a pod that a policy isolates reaches its node and is reached by it without connection tracking', async () => {
    for (const name of ['bridged', 'routed'])
      for (const family of families)
        for (const protocol of protocols) {
          assert.equal(await answers(name, protocol, resolver[family], 53), 'resolver');
          assert.equal(await answers('host', protocol, addressOf(name, family), 8080), name);
        }
  });

  test('between pods, untracked packets pass in neither direction if a policy isolates one of them', () => {
    for (const family of families)
      for (const protocol of protocols) {
        for (const [from, to] of [
          ['open', 'bridged'],
          ['open', 'routed'],
          ['bridged', 'open'],
          ['routed', 'bridged'],
        ] as const)
          assert.equal(
            asks(from, protocol, addressOf(to, family), 8080),
            undefined,
            `${from} ${to} ${protocol} ${family}`,
          );
      }
  });

  test('a profile’s rules apply to untracked packets of a pod to its node, packet by packet', async () => {
    const rule = (cidr: string, protocol: LinkRule['protocol']): LinkRule => ({
      cidr,
      protocol,
      ports: { low: 53, high: 53 },
    });
    const { id } = pod('bridged').request;
    await engine.setClass(id, 'user', {
      egress: [rule('169.254.20.10/32', 'udp'), rule('fd99::/64', 'udp')],
    });
    for (const family of families) {
      assert.equal(await answers('bridged', 'udp', resolver[family], 53), 'resolver');
      assert.equal(asks('bridged', 'tcp', resolver[family], 53), undefined);
    }
    assert.equal(asks('bridged', 'udp', '10.88.0.1', 53), undefined);
    assert.ok(
      (await engine.denials()).some((denial) => denial.id === id && denial.rule === 'network.egress'),
    );
    await engine.setClass(id, 'user', { egress: [] });
    assert.equal(asks('bridged', 'udp', resolver[4], 53), undefined);
    await engine.setClass(id, 'user');
    assert.equal(await answers('bridged', 'tcp', resolver[4], 53), 'resolver');
    // No rule is left.
    assert.doesNotMatch(shell('nft list table inet portcullis_rules'), /_egress_untracked/u);
  });
}
