import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import type { DenialExplanation } from '../../cni-plugins/index.ts';
import { portcullis } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import {
  createContainer,
  execute,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const policy = `${plainPolicy}---
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata: { name: narrow }
network: { egress: [{ to: 10.211.0.0/16, ports: [8080/tcp] }], ingress: [] }
`;

/** Peer rules in a profile, with a pod that selects it by annotation. */
describe('peer rules', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage({ policy });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  const addressOf = async (pod: Pod): Promise<string> =>
    (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id })).status?.network?.ip ?? '';
  const fetch = async (id: string, host: string, port: number): Promise<boolean> =>
    (
      await execute(stage, id, 'timeout', '1', 'wget', '-q', '-O', '-', `http://${host}:${port}/`)
    ).stdout.includes('a page');
  const reaches = async (id: string, host: string, port: number): Promise<void> => {
    for (let waited = 0; !(await fetch(id, host, port)); waited += 100) {
      assert.ok(waited < 60_000, `${host}:${port} is not reached`);
      await pause(100);
    }
  };

  it('apply from the start of the container, survive a restart of the daemon, and are combined with those of other containers of the pod', async () => {
    const annotations = { 'portcullis.dev/profile.held': 'narrow' };
    const [web, client] = [await runPod(stage, 'web'), await runPod(stage, 'client', { annotations })];
    const command = ['sh', '-c', 'httpd -p 8081 -h /www; httpd -f -p 8080 -h /www'];
    const server = await runContainer(stage, web, { image, command });
    const held = await runContainer(stage, client, { image, name: 'held', command });
    const [there, here] = [await addressOf(web), await addressOf(client)];
    await reaches(held, there, 8080);
    assert.equal(await fetch(held, there, 8081), false);
    assert.equal(await fetch(server, here, 8080), false);
    // Packets of the pod's own loopback do not cross its link.
    await reaches(held, '127.0.0.1', 8081);
    await stage.restart({ kill: true });
    await reaches(held, there, 8080);
    assert.equal(await fetch(held, there, 8081), false);
    // The link belongs to the pod: a container without rules removes the restriction for all containers.
    await runContainer(stage, client, { image, name: 'free', command: ['sleep', '600'] });
    await reaches(held, there, 8081);
    await reaches(server, here, 8080);
    for (const pod of [web, client]) await removePod(stage, pod);
  });

  it('are named by explain-denial, with the rule that would allow the connection', async () => {
    const [web, client] = [
      await runPod(stage, 'web'),
      await runPod(stage, 'client', { annotations: { 'portcullis.dev/profile': 'narrow' } }),
    ];
    const ask = (...words: string[]): Promise<Ended> =>
      portcullis(['explain-denial', ...words, '--admin-socket', join(stage.folders.state, 'admin.sock')]);
    const closed = await ask('client', '--to', 'web:8080');
    assert.deepEqual(
      [
        closed.code,
        /To allow it at shop\/client \(network\.none\):\n {2}start a container/u.test(closed.stdout),
      ],
      [1, true],
      closed.output,
    );
    await runContainer(stage, web, { image, command: ['sleep', '600'] });
    const held = await runContainer(stage, client, { image, command: ['sleep', '600'] });
    const there = await addressOf(web);

    const granted = await ask('shop/client', '--to', `${there}:8080`);
    assert.equal(granted.code, 0, granted.output);
    assert.match(granted.stdout, /, 8080\/tcp: allowed$/mu);
    const denied = await ask('client', '--to', 'shop/web:8081/tcp');
    assert.equal(denied.code, 1, denied.output);
    assert.ok(
      denied.stdout.includes(`To allow it at shop/client (network.egress):`) &&
        denied.stdout.includes(`- { to: "${there}", ports: [8081/tcp] }`),
      denied.stdout,
    );
    const taken = await ask(client.id.slice(0, 12), '--from', 'web:8080', '--output', 'json');
    const explained = JSON.parse(taken.stdout) as DenialExplanation;
    assert.deepEqual(
      [taken.code, explained.outcome, explained.steps.find(({ says }) => says === 'denies')?.rule],
      [1, 'denied', 'network.ingress'],
    );

    await fetch(held, there, 8081);
    const counted = await ask('client');
    assert.deepEqual(
      [counted.code, /^egress +network\.egress +\d+ /mu.test(counted.stdout)],
      [1, true],
      counted.output,
    );
    const line = (rule: string): string =>
      `time=now ${JSON.stringify({ sandbox: client.id, direction: 'egress', rule })}`;
    assert.match((await ask('--log', line('network.egress'))).stdout, /^egress +network\.egress +\d+ /mu);
    assert.match(
      (await ask('--log', line('network.address'))).stdout,
      /the rule was replaced .* has denied nothing/u,
    );

    const unknown = await ask('nobody');
    assert.deepEqual([unknown.code, /NETWORK_POD_UNKNOWN/u.test(unknown.stderr)], [4, true]);
    for (const wrong of [
      ['client', '--to', '10.0.0.1:99999'],
      ['client', '--log', '{}'],
    ])
      assert.equal((await ask(...wrong)).code, 2, wrong.join(' '));
    const alone = await portcullis([
      'explain-denial',
      'client',
      '--cni-socket',
      join(stage.folders.folder, 'nobody.sock'),
    ]);
    assert.deepEqual([alone.code, /CLI_NO_DAEMON/u.test(alone.stderr)], [4, true]);
    for (const pod of [web, client]) await removePod(stage, pod);
  });

  it('are refused in the host network namespace', async () => {
    const security = { namespaceOptions: { ...namespaceOptions, network: 2 } } as const;
    const pod = await runPod(stage, 'host', {
      annotations: { 'portcullis.dev/profile': 'narrow' },
      linux: { securityContext: security },
    });
    const failure = await failureOf(createContainer(stage, pod, { image, security }));
    // No profile grants both, because peer rules need a private link of the pod.
    assert.equal(failure.code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    await removePod(stage, pod);
  });
});
