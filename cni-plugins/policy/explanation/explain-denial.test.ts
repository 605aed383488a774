import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { eventually, inPrivateNetns, shell, startFixture } from '../../engine/engine.fixture.ts';
import type { Pod } from '../../engine/engine.fixture.ts';
import type { AskedConnection, DenialExplanation, LinkRule } from '../../types.ts';

const rule = (cidr: string, port = 80, name?: string): LinkRule => ({
  cidr,
  protocol: 'tcp',
  ports: { low: port, high: port },
  ...(name !== undefined && { name }),
});
const coded = (code: string) => (thrown: unknown) => isPortcullisError(thrown) && thrown.code === code;

/** Compares explanations with the fate of packets. */
if (inPrivateNetns(import.meta.filename, 180_000)) {
  const { fixture, engine } = await startFixture();
  afterEach(() => engine.gc(new Set()));

  const addressOf = (pod: Pod, index = 0): string =>
    engine.get(pod.request.id)?.ips[index]?.address.split('/')[0] ?? '';
  const serve = async (pod: Pod): Promise<void> => {
    const root = join(fixture.folder, pod.request.pod.name);
    mkdirSync(root, { recursive: true });
    writeFileSync(join(root, 'index.html'), pod.request.pod.name);
    for (const port of [80, 81])
      fixture.start(
        'nsenter',
        `--net=${pod.request.netns}`,
        'busybox',
        'httpd',
        '-f',
        '-p',
        String(port),
        '-h',
        root,
      );
    await eventually(() => pod.run('timeout 1 busybox wget -q -O - http://127.0.0.1:81/'), 20_000);
  };
  const connects = (from: Pod, host: string, port: number, patience: number): boolean =>
    from.run(
      `timeout ${patience} busybox wget -q -O - http://${host.includes(':') ? `[${host}]` : host}:${port}/`,
    ) !== undefined;
  /** Returns the explanation after checking its outcome with a packet. */
  const explained = async (from: Pod, host: string, port: number): Promise<DenialExplanation> => {
    const connection: AskedConnection = { direction: 'egress', peer: host, protocol: 'tcp', port };
    const answer = await engine.explain({ pod: from.request.id, connection });
    const passes = connects(from, host, port, answer.outcome === 'allowed' ? 10 : 1);
    assert.equal(
      answer.outcome,
      passes ? 'allowed' : 'denied',
      `${from.request.pod.name} to ${host}:${port}: ${JSON.stringify(answer.steps)}`,
    );
    assert.deepEqual(answer.problems, []);
    return answer;
  };
  const denying = ({ steps }: DenialExplanation): string[] =>
    steps.filter(({ says }) => says === 'denies').map(({ pod, rule: name }) => `${pod} ${name}`);
  const attach = async (name: string, more: Partial<Pod['request']> = {}): Promise<Pod> => {
    const pod = fixture.pod(name, more);
    await engine.attach(pod.request);
    return pod;
  };

  test('classes, peer rules and NetworkPolicies of both ends are named in the order in which packets meet them', async () => {
    const labels = { app: 'web', 'pod-template-hash': '5d4f' };
    const web = await attach('web', {
      pod: { name: 'web', namespace: 'shop', uid: 'w', labels },
      portMappings: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
    });
    const client = await attach('client');
    await serve(web);
    const [four, six] = [addressOf(web), addressOf(web, 1)];
    await engine.setClass(web.request.id, 'user');
    const closed = await explained(client, four, 80);
    assert.deepEqual(denying(closed), ['default/client network.none']);
    assert.match(closed.steps[0]?.allow ?? '', /start a container/u);

    await engine.setClass(client.request.id, 'user', {
      egress: [rule(`${four}/32`, 80, 'shop'), rule(`${six}/128`)],
    });
    const granted = await explained(client, four, 80);
    assert.deepEqual(
      granted.steps.map(({ pod, rule: name, says, by }) => [pod, name, says, by]),
      [
        ['default/client', 'network.user', 'allows', undefined],
        ['default/client', 'NetworkPolicy', 'nothing', undefined],
        ['default/client', 'network.egress', 'allows', 'shop'],
        ['shop/web', 'network.user', 'allows', undefined],
        ['shop/web', 'NetworkPolicy', 'nothing', undefined],
        ['shop/web', 'network.ingress', 'nothing', undefined],
      ],
    );
    await explained(client, six, 80);
    for (const host of [four, six]) {
      const refused = await explained(client, host, 81);
      assert.deepEqual(denying(refused), ['default/client network.egress']);
      assert.ok(
        refused.steps.at(2)?.allow?.includes(`- { to: "${host}", ports: [81/tcp] }`),
        refused.steps.at(2)?.allow ?? '',
      );
    }

    mkdirSync(join(fixture.folder, 'policies'));
    const policy = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace: 'shop', name: 'only-81' },
      spec: {
        podSelector: { matchLabels: { app: 'web' } },
        policyTypes: ['Ingress'],
        ingress: [{ ports: [{ port: 81 }] }],
      },
    };
    const file = join(fixture.folder, 'policies', 'one.json');
    writeFileSync(file, JSON.stringify(policy));
    await eventually(() => (connects(client, four, 80, 1) ? undefined : true), 20_000);
    const byPolicy = await explained(client, four, 80);
    assert.deepEqual(denying(byPolicy), ['shop/web NetworkPolicy shop/only-81']);

    // The suggested policy lets the connection pass, and nothing else.
    const allow = byPolicy.steps.find(({ says }) => says === 'denies')?.allow ?? '';
    assert.ok(!allow.includes('pod-template-hash'), allow);
    writeFileSync(join(fixture.folder, 'policies', 'two.yaml'), allow.split('\n').slice(1).join('\n'));
    await eventually(() => (connects(client, four, 80, 1) ? true : undefined), 20_000);
    assert.match((await explained(client, four, 80)).steps.at(4)?.by ?? '', /^shop\/allow-ingress-tcp-80$/u);
    assert.deepEqual(
      denying(
        await engine.explain({
          pod: 'web',
          connection: { direction: 'ingress', peer: '10.9.9.9', protocol: 'tcp', port: 80 },
        }),
      ),
      ['shop/web NetworkPolicy shop/only-81, shop/allow-ingress-tcp-80'],
    );

    // Policies allow the node; a host port counts as the pod behind it.
    await engine.setClass(client.request.id, 'user');
    const fromHost = await engine.explain({
      pod: 'shop/web',
      connection: { direction: 'ingress', peer: '10.88.0.1', protocol: 'tcp', port: 80 },
    });
    assert.equal(fromHost.outcome, 'allowed');
    const byHostPort = await explained(client, '10.88.0.1', 8080);
    assert.deepEqual(
      [byHostPort.connection?.to, byHostPort.connection?.port, byHostPort.steps[0]?.rule],
      [four, 80, 'host port'],
    );
    const byName = await engine.explain({
      pod: client.request.id.slice(0, 9),
      connection: { direction: 'egress', peer: 'shop/web', protocol: 'icmp' },
    });
    assert.deepEqual(
      [byName.connection?.to, byName.connection?.port, byName.outcome],
      [four, 2048, 'denied'],
    );
  });

  test('if the kernel’s tables were changed, they decide, and the explanation says so', async () => {
    const web = await attach('changed');
    const client = await attach('changer');
    const four = addressOf(web);
    await engine.setClass(web.request.id, 'user');
    await engine.setClass(client.request.id, 'user', { egress: [rule(`${four}/32`)] });
    const { hostInterface } = engine.get(client.request.id) ?? assert.fail('it is attached');
    const connection: AskedConnection = { direction: 'egress', peer: four, protocol: 'tcp', port: 80 };
    assert.equal((await engine.explain({ pod: 'changer', connection })).outcome, 'allowed');
    const chain = `inet portcullis_rules ${hostInterface}_egress_profile`;
    // In one transaction, and with no fewer rules than before: the engine checks twice a second and recreates
    // missing rules.
    const had = [...shell(`nft -a list chain ${chain}`).matchAll(/^\t\t.*# handle/gmu)].length;
    assert.ok(had > 0);
    shell(`nft 'flush chain ${chain}; ${`add rule ${chain} counter drop; `.repeat(had)}'`);
    const changed = await engine.explain({ pod: 'changer', connection });
    assert.equal(changed.outcome, 'denied');
    assert.match(changed.problems.join(), /differ from the peer rules of its profiles/u);
  });

  test('denials of a pod are counted; an invalid question is refused with an error code', async () => {
    const pod = await attach('silent');
    await engine.setClass(pod.request.id, 'none');
    pod.run('busybox ping -c 2 -W 1 10.88.0.1');
    const { denied, steps, outcome } = await engine.explain({ pod: 'silent' });
    assert.deepEqual([steps, outcome], [[], undefined]);
    assert.ok(
      denied.some(
        ({ rule: name, direction, packets }) =>
          name === 'network.none' && direction === 'egress' && packets > 0n,
      ),
    );
    await assert.rejects(engine.explain({ pod: 'nobody' }), coded('NETWORK_POD_UNKNOWN'));
    const twin = fixture.pod('twin', { pod: { name: 'silent', namespace: 'other', uid: 't' } });
    await engine.attach(twin.request);
    await assert.rejects(engine.explain({ pod: 'silent' }), coded('NETWORK_POD_AMBIGUOUS'));
    // The next sandbox of the same pod, while the last one is not removed yet.
    const next = fixture.pod('next', { pod: { name: 'silent', namespace: 'other', uid: 't' } });
    await engine.attach(next.request);
    await assert.rejects(engine.explain({ pod: 'other/silent' }), (thrown: Error) => {
      const ids = [...thrown.message.matchAll(/other\/silent \(([^)]+)\)/gu)].map(([, id]) => id);
      assert.deepEqual(ids.sort(), [twin, next].map(({ request }) => request.id.slice(0, 13)).sort());
      return true;
    });
    await engine.detach(next.request.id);
    const connection = { direction: 'egress', protocol: 'tcp', port: 80 } as const;
    await assert.rejects(
      engine.explain({ pod: 'other/silent', connection: { ...connection, peer: '10.0.0.300' } }),
      coded('NETWORK_POD_UNKNOWN'),
    );
  });
}
