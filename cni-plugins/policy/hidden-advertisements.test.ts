import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, inPrivateNetns, startFixture, tried } from '../engine/engine.fixture.ts';
import type { Pod } from '../engine/engine.fixture.ts';
import type { Attachment } from '../types.ts';

/** Advertisements that no pod may send, hidden in the ways that guards miss according to RFC 7113. */
const python = '/usr/bin/python3';
const fixtures = join(import.meta.dirname, 'fixtures');

if (inPrivateNetns(import.meta.filename)) {
  const { fixture, engine } = await startFixture();

  const attached = async (name: string): Promise<{ pod: Pod; attachment: Attachment; linkLocal: string }> => {
    const pod = fixture.pod(name);
    const attachment = await engine.attach(pod.request);
    await engine.setClass(pod.request.id, 'user');
    const linkLocal =
      /inet6 (fe80:[^/]+)/u.exec(pod.run('ip -6 addr show eth0') ?? '')?.[1] ??
      assert.fail('no link-local address');
    return { pod, attachment, linkLocal };
  };

  test('advertisements behind extension headers and in fragments are dropped; fragments of an echo pass', async () => {
    const [sender, receiver] = [await attached('sender'), await attached('receiver')];
    const log = join(fixture.folder, 'frames.log');
    fixture.start(
      'nsenter',
      `--net=${receiver.pod.request.netns}`,
      python,
      join(fixtures, 'hostile.py'),
      'frames',
      log,
    );
    await eventually(() => tried(`grep -q ready ${log}`), 10_000);
    const targets = [
      sender.linkLocal,
      sender.attachment.interface.mac,
      receiver.linkLocal,
      receiver.attachment.interface.mac,
    ];
    const program = join(fixtures, 'hidden_advertisements.py');
    const run = spawnSync('nsenter', [`--net=${sender.pod.request.netns}`, python, program, ...targets], {
      encoding: 'utf8',
    });
    assert.equal(run.status, 0, run.stderr);
    // The last packet is allowed: every packet that could arrive before it has arrived.
    await eventually(() => (readFileSync(log, 'utf8').includes('datagram') ? true : undefined), 10_000);
    const arrived = readFileSync(log, 'utf8')
      .split('\n')
      .slice(1)
      .filter((line) => line !== '');
    assert.deepEqual(arrived.sort(), ['datagram', 'echo-whole']);
    const counted = receiver.pod.run('cat /proc/net/snmp6') ?? '';
    const [asked, whole] = ['Ip6ReasmReqds', 'Ip6ReasmOKs'].map((name) =>
      Number(new RegExp(`^${name}\\s+(\\d+)`, 'mu').exec(counted)?.[1]),
    );
    // Only the halves of the echo arrived.
    assert.deepEqual([asked, whole], [2, 1]);
  });
}
