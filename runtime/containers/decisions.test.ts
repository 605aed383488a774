import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitReason } from './exit-reason.ts';
import { nextContainerPhase } from './lifecycle.ts';
import { linkPolicyFor } from './link-class.ts';
import { containerLogPath } from './logs/log-path.ts';

test('exit reasons: completed, error, out of memory, monitor lost', () => {
  const exit = (code: number, fromMonitor = true) => ({ code, finishedAt: '1', fromMonitor });
  assert.equal(exitReason(exit(0), false).reason, 'Completed');
  assert.equal(exitReason(exit(3), false).reason, 'Error');
  assert.equal(exitReason(exit(137), true).reason, 'OOMKilled');
  // A child was killed; the container continued and ended successfully.
  assert.equal(exitReason(exit(0), true).reason, 'OOMKilled');
  assert.equal(exitReason(exit(255, false), false).reason, 'MonitorLost');
});

test('the link is raised to the widest class of the started containers, and not raised by other containers', () => {
  assert.deepEqual(linkPolicyFor([]), { class: 'deny' });
  assert.deepEqual(linkPolicyFor([{ phase: 'created', networkClass: 'admin' }]), { class: 'deny' });
  assert.deepEqual(linkPolicyFor([{ phase: 'running', networkClass: 'none' }]), { class: 'none' });
  assert.deepEqual(
    linkPolicyFor([
      { phase: 'running', networkClass: 'none' },
      { phase: 'starting', networkClass: 'user' },
      { phase: 'exited', networkClass: 'admin' },
    ]),
    { class: 'user' },
  );
  const rule = (cidr: string) => ({ cidr, protocol: 'tcp', ports: { low: 80, high: 80 } }) as const;
  const running = (networkClass: 'none' | 'user' | 'proxy', peers?: object) =>
    ({ phase: 'running', networkClass, ...(peers && { peers }) }) as const;
  const [ten, eleven] = [rule('10.0.0.0/8'), rule('11.0.0.0/8')];
  // The rules are joined. A container without a network adds no rules; a container without rules removes the
  // rules of the others.
  assert.deepEqual(
    linkPolicyFor([running('user', { egress: [ten] }), running('proxy', { egress: [eleven], ingress: [] })]),
    {
      class: 'proxy',
      egress: [ten, eleven],
    },
  );
  assert.deepEqual(linkPolicyFor([running('user', { egress: [ten], ingress: [] }), running('none')]), {
    class: 'user',
    egress: [ten],
    ingress: [],
  });
  assert.deepEqual(linkPolicyFor([running('user', { egress: [ten] }), running('user')]), { class: 'user' });
  const annotations = {
    'io.kubernetes.container.ports':
      '[{"name":"http","containerPort":80,"protocol":"TCP"},{"containerPort":81},7]',
  };
  for (const [config, namedPorts] of [
    [{ annotations }, [{ name: 'http', protocol: 'tcp', port: 80 }]],
    [{ annotations: { 'io.kubernetes.container.ports': '{' } }, undefined],
  ] as const)
    assert.deepEqual(linkPolicyFor([{ ...running('user'), config: config as never }]), {
      class: 'user',
      ...(namedPorts && { namedPorts }),
    });
});

test('log paths stay below the log folder', () => {
  assert.equal(containerLogPath('/var/log/pods/x/', 'c/0.log'), '/var/log/pods/x/c/0.log');
  assert.equal(containerLogPath('', 'c.log'), '');
  for (const path of ['/etc/passwd', '../x', 'a/../../x', '.', 'a\0']) {
    assert.throws(() => containerLogPath('/var/log', path), { code: 'RUNTIME_BAD_LOG_PATH' }, path);
  }
  const folder = '/x'.repeat(2044);
  assert.equal(containerLogPath(folder, 'a'), `${folder}/a`);
  assert.throws(() => containerLogPath(folder, 'a/b'), {
    code: 'RUNTIME_BAD_LOG_PATH',
    message: /4091 bytes/u,
  });
});

test('a phase allows only its own transitions', () => {
  assert.equal(nextContainerPhase('created', 'start-asked'), 'starting');
  assert.equal(nextContainerPhase('starting', 'exited'), 'exited');
  assert.throws(() => nextContainerPhase('exited', 'start-asked'), { code: 'RUNTIME_ILLEGAL_TRANSITION' });
});
