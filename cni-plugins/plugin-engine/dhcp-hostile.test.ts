import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { createFixture, eventually, inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { messageTypes } from '../dhcp/option-codes.ts';
import type { DhcpMessage } from '../dhcp/message.ts';
import type { PluginCall } from '../calls/plugin-call.ts';
import type { CniResult } from '../spec/result.ts';
import { dhcpCall } from './dhcp.fixture.ts';
import { startTestServer, usualAnswer } from './dhcp-server.fixture.ts';
import type { ServerAnswer } from './dhcp-server.fixture.ts';

/** The address plugin `dhcp`, servers that harm other pods, and pods that harm themselves. */

if (inPrivateNetns(import.meta.filename, 300_000)) {
  const fixture = createFixture();
  shell('ip link add ts0 type veth peer name ts1; ip link set ts0 up; ip link set ts1 up');
  shell('ip link add br-dhcp type bridge; ip link set br-dhcp up');
  shell('ip link add bs0 type veth peer name bs1; ip link set bs0 up master br-dhcp; ip link set bs1 up');
  const engine = await fixture.engine();
  const macvlan = { type: 'portcullis-macvlan', master: 'ts0', ipam: { type: 'portcullis-dhcp' } };
  const bridge = {
    type: 'portcullis-bridge',
    bridge: 'br-dhcp',
    ipMasq: true,
    ipam: { type: 'portcullis-dhcp' },
  };
  const call = (
    verb: PluginCall['verb'],
    conf: { readonly type: string },
    id: string,
    more: Partial<PluginCall> = {},
  ): Promise<CniResult | undefined> => engine.callPlugin(dhcpCall(fixture.folder, verb, conf, id, more));
  const serve = (
    answer: (request: DhcpMessage) => readonly ServerAnswer[],
    link = 'ts1',
  ): ReturnType<typeof startTestServer> => startTestServer(link, answer);
  const documents = (): string[] => fixture.rows('SELECT document FROM dhcp_lease');

  /** Makes the database as full, and returns what ends it. */
  const fill = (): (() => void) => {
    const db = new DatabaseSync(fixture.databasePath, { timeout: 5000 });
    db.exec(
      `CREATE TRIGGER full BEFORE UPDATE ON dhcp_lease BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`,
    );
    return () => {
      db.exec('DROP TRIGGER full');
      db.close();
    };
  };

  for (const returns of [false, true])
    test(`a lost address is removed while the database is full, ${returns ? 'and returns' : 'and stays away'}`, async () => {
      let refuses = false;
      let offers = true;
      const server = serve((request) => {
        if (request.clientAddress !== 0 && refuses) return usualAnswer(request, { type: messageTypes.nak });
        return offers ? usualAnswer(request) : [];
      });
      const pod = fixture.pod(`full-${returns}`);
      await call('add', macvlan, `full-${returns}`);
      const has = (address: string): boolean =>
        (pod.run('ip -4 -o address show dev eth0') ?? '').includes(` ${address}/`);
      const empty = fill();
      refuses = true;
      offers = false;
      await eventually(() => !has('10.77.0.60') || undefined, 30_000);
      refuses = false;
      offers = returns;
      const before = server.received.length;
      if (returns)
        await eventually(
          () => server.received.slice(before).includes(messageTypes.request) || undefined,
          30_000,
        );
      empty();
      // The loss is recorded later, or the record of the address is true again.
      if (returns) await eventually(() => has('10.77.0.60') || undefined, 60_000);
      else await eventually(() => documents()[0]?.includes('"lost"') || undefined, 60_000);
      await call('del', macvlan, `full-${returns}`);
      server.close();
    });

  test('a server cannot take the masquerading of another pod away', async () => {
    fixture.pod('victim');
    const range = { subnet: '10.99.0.0/24', rangeStart: '10.99.0.9', rangeEnd: '10.99.0.9' };
    const other = {
      ...bridge,
      bridge: 'br-other',
      isGateway: true,
      ipam: { type: 'host-local', ranges: [[range]] },
    };
    const result = await call('add', other, 'victim');
    const address = result?.ips[0]?.address.split('/')[0] ?? '';
    const rule = (): string | undefined =>
      new RegExp(`${address.replaceAll('.', '\\.')} : [^,}]*`, 'u').exec(shell('nft list ruleset'))?.[0];
    const before = rule();
    assert.ok(before);
    let given = address;
    const server = serve(
      (request) => usualAnswer(request, { address: given, mask: '255.0.0.0', router: '10.88.0.77' }),
      'bs1',
    );
    fixture.pod('thief');
    await assert.rejects(call('add', bridge, 'thief'), { code: 'NETWORK_ADDRESS_TAKEN' });
    assert.equal(rule(), before);
    // With the address of a renewal it loses its own.
    given = '10.77.0.60';
    const pod = fixture.pod('renewed');
    await call('add', bridge, 'renewed');
    given = address;
    await eventually(
      () => documents()[0]?.includes('"lost":"10.77.0.60: the server gave') || undefined,
      30_000,
    );
    assert.doesNotMatch(pod.run('ip -4 -o address show dev eth0') ?? '', /10\./u);
    assert.equal(rule(), before);
    await call('del', bridge, 'renewed');
    assert.equal(rule(), before);
    // The other pod may also get the address later.
    await call('del', other, 'victim');
    await call('add', bridge, 'renewed');
    await call('add', other, 'victim');
    await call('del', bridge, 'renewed');
    assert.equal(rule(), before);
    server.close();
    await call('del', other, 'victim');
  });

  test('a server cannot give a pod an address of the host', async () => {
    shell('ip addr add 10.77.0.5/24 dev br-dhcp');
    let given = '10.77.0.5';
    const server = serve((request) => usualAnswer(request, { address: given }), 'bs1');
    const pod = fixture.pod('as-host');
    await assert.rejects(call('add', bridge, 'as-host'), {
      code: 'NETWORK_ADDRESS_TAKEN',
      message: /which is an address of this host/u,
    });
    await eventually(() => server.received.includes(messageTypes.release) || undefined);
    // With the address of a renewal it loses its own.
    given = '10.77.0.61';
    await call('add', bridge, 'as-host');
    given = '10.77.0.5';
    await eventually(
      () => documents()[0]?.includes('"lost":"10.77.0.61: the server gave 10.77.0.5') || undefined,
      30_000,
    );
    assert.doesNotMatch(pod.run('ip -4 -o address show dev eth0') ?? '', /10\.77/u);
    await call('del', bridge, 'as-host');
    server.close();
    shell('ip addr del 10.77.0.5/24 dev br-dhcp');
  });

  test('a pod does not reach the port of DHCP clients', async () => {
    const [sender, receiver] = [fixture.pod('sender'), fixture.pod('receiver')];
    const attachments = [await engine.attach(sender.request), await engine.attach(receiver.request)];
    for (const { id } of attachments) await engine.setClass(id, 'user');
    const address = attachments[1]?.ips[0]?.address.split('/')[0] ?? '';
    const file = `${fixture.folder}/received`;
    const listen = (port: number): void =>
      void fixture.start(
        ...['nsenter', `--net=${receiver.request.netns}`, 'python3', '-c'],
        `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', ${port}))
open('${file}', 'a').write('listening ${port}\\n'); s.recv(9); open('${file}', 'a').write('received ${port}\\n')`,
      );
    for (const port of [68, 69]) listen(port);
    const lines = (): string => (existsSync(file) ? readFileSync(file, 'utf8') : '');
    await eventually(
      () => /listening 68[^]*listening 69|listening 69[^]*listening 68/u.test(lines()) || undefined,
    );
    const send = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in (68, 69): s.sendto(b'x', ('${address}', port))`;
    assert.notEqual(sender.run(`python3 -c "${send}"`), undefined);
    await eventually(() => lines().includes('received 69') || undefined);
    assert.doesNotMatch(lines(), /received 68/u);
    for (const { id } of attachments) await engine.detach(id);
  });

  test('end', async () => {
    await engine.close({ removeAll: true });
    fixture.end();
  });
}
