import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { inPrivateNetns, shell, startFixture } from '../../engine/engine.fixture.ts';
import type { LinkRule, LinkState } from '../../types.ts';

const rule = (cidr: string, protocol: LinkRule['protocol'], low: number, high = low): LinkRule => ({
  cidr,
  protocol,
  ports: { low, high },
});

if (inPrivateNetns(import.meta.filename)) {
  const { fixture, engine } = await startFixture();
  afterEach(() => engine.gc(new Set()));

  let pods = 0;
  const attached = async (name: string): Promise<{ id: string; state(): Promise<LinkState> }> => {
    const { request } = fixture.pod(`${name}${(pods += 1)}`);
    await engine.attach(request);
    const state = async (): Promise<LinkState> =>
      (await engine.linkState(request.id)) ?? assert.fail('it is attached');
    return { id: request.id, state };
  };
  const sorted = (rules: readonly LinkRule[] | undefined): string[] | undefined =>
    rules?.map(({ cidr, protocol, ports }) => `${cidr} ${protocol} ${ports.low}-${ports.high}`).sort();

  test('the class is read from the kernel, whatever was requested', async () => {
    const { id, state } = await attached('classes');
    assert.equal((await state()).lets, 'nothing');
    for (const [linkClass, lets] of [
      ['user', 'own packets'],
      ['none', 'nothing'],
      ['admin', 'own packets'],
    ] as const) {
      await engine.setClass(id, linkClass);
      const found = await state();
      assert.equal(found.lets, lets);
      assert.deepEqual(found.problems, []);
      assert.equal(found.egress, undefined);
    }
    const { hostInterface } = await state();
    await engine.setClass(id, 'none');
    shell(`nft 'delete element bridge portcullis egress { "${hostInterface}" }'`);
    shell(`nft 'add element bridge portcullis egress { "${hostInterface}" : accept }'`);
    assert.equal((await state()).lets, 'unknown');
    assert.equal(await engine.linkState('nobody'), undefined);
  });

  test('peer rules are read back as blocks, protocols and ports', async () => {
    const { id, state } = await attached('rules');
    const egress = [
      rule('10.0.0.0/8', 'tcp', 443),
      rule('192.0.2.0/25', 'udp', 53, 60),
      rule('2001:db8::/33', 'icmp', 0, 65535),
      rule('0.0.0.0/0', 'sctp', 1),
      rule('255.255.255.0/24', 'tcp', 443),
    ];
    await engine.setClass(id, 'user', { egress, ingress: [] });
    const found = await state();
    assert.deepEqual(found.problems, []);
    assert.deepEqual(sorted(found.egress), sorted(egress));
    assert.deepEqual(found.ingress, []);
    await engine.setClass(id, 'user', {
      ingress: [{ ...rule('10.0.0.0/30', 'tcp', 80), except: ['10.0.0.2'] }],
    });
    const next = await state();
    assert.equal(next.egress, undefined);
    assert.deepEqual(sorted(next.ingress), ['10.0.0.0/31 tcp 80-80', '10.0.0.3/32 tcp 80-80']);
  });

  for (const [what, tamper] of [
    ['an emptied judgement', () => 'flush chain inet portcullis_rules judge'],
    ['another way out of the judgement', () => 'insert rule inet portcullis_rules judge accept'],
    [
      'a link that bypasses the judgement',
      (name: string) => `delete element bridge portcullis_rules ruled_senders { "${name}" }`,
    ],
    [
      'a rule for everybody in the pod’s chain',
      (name: string) => `insert rule inet portcullis_rules ${name}_egress_profile accept`,
    ],
    ['an emptied map', () => 'flush map inet portcullis_rules egress4'],
  ] as const)
    test(`${what} is reported as a problem, and no rules are returned`, async () => {
      const { id, state } = await attached('tampered');
      await engine.setClass(id, 'user', { egress: [rule('10.0.0.0/8', 'tcp', 443)] });
      const { hostInterface, egress } = await state();
      assert.equal(egress?.length, 1);
      // Twice a second, the engine recreates rules that are missing: it may do so before the state is read.
      let found = await state();
      for (let times = 0; times < 20 && found.problems.length === 0; times += 1) {
        shell(`nft '${tamper(hostInterface)}'`);
        found = await state();
      }
      assert.notDeepEqual(found.problems, []);
      assert.equal(found.egress, undefined);
    });

  test('a first chain that accepts all frames is reported as a problem', async () => {
    const { id, state } = await attached('passed-by');
    await engine.setClass(id, 'user');
    shell('nft insert rule bridge portcullis prerouting accept');
    const found = await state();
    assert.equal(found.lets, 'unknown');
    assert.match(found.problems.join(), /prerouting of table bridge portcullis/);
  });
}
