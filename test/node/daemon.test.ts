import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import { portcullis, portcullisCommand } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';
import { openStage, plainPolicy, podNamespace, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const healMs = 10_000;
const limitMs = 120_000;
const managed = { 'portcullis.dev/managed-by': 'node-state' };

describe('the state of a node with its daemon', { timeout: 900_000 }, () => {
  let stage: Stage;
  let options: readonly string[];
  let folder: string;
  let agent: ChildProcess | undefined;
  let reference = '';
  /** A registry that never answers. */
  const calls = new Set<Socket>();
  const silent = createServer((socket) => {
    calls.add(socket.on('error', () => undefined).on('close', () => calls.delete(socket)));
  });
  const logFile = (): string => join(folder, 'serve.log');

  const start = (): void => {
    const [program = '', ...words] = portcullisCommand;
    const out = openSync(logFile(), 'a');
    agent = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', program, ...words, 'node', 'serve', ...options, '--interval', '1s'],
      { stdio: ['ignore', out, out] },
    );
  };
  const kill = async (): Promise<void> => {
    const ending = agent;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill('SIGKILL');
    await ended;
  };
  const apply = async (text: string, ...more: readonly string[]): Promise<Ended> => {
    const file = join(folder, 'state.yaml');
    writeFileSync(file, `apiVersion: portcullis.dev/v1alpha1\nkind: NodeState\n${text}`);
    return portcullis(['node', 'apply', '-f', file, ...options, '--timeout', '2m', ...more]);
  };
  const applied = async (text: string): Promise<void> => {
    const ended = await apply(text);
    assert.equal(ended.code, 0, `${ended.output}\n${readFileSync(logFile(), 'utf8')}`);
  };
  const ourPods = async () =>
    (await stage.daemon.cri.runtime.listPodSandbox({ filter: { labelSelector: managed } })).items;
  const ourContainers = async () =>
    (await stage.daemon.cri.runtime.listContainers({ filter: { labelSelector: managed } })).containers;
  const within = async (what: string, isSo: () => Promise<boolean>, ms = healMs): Promise<number> => {
    const began = performance.now();
    while (!(await isSo())) {
      if (performance.now() - began > ms)
        assert.fail(`not within ${ms} ms: ${what}\n${readFileSync(logFile(), 'utf8')}`);
      await sleep(50);
    }
    return performance.now() - began;
  };
  const runs = async (): Promise<boolean> => {
    const [pods, containers] = [await ourPods(), await ourContainers()];
    return (
      pods.length === 1 &&
      pods[0]?.state === PodSandboxState.SANDBOX_READY &&
      containers.some(
        ({ podSandboxId, state }) =>
          podSandboxId === pods[0]?.id && state === ContainerState.CONTAINER_RUNNING,
      )
    );
  };
  const policy = (text: string): string =>
    `policies:\n  - { name: k.pub, from: k.pub }\n  - name: policy.yaml\n    content: |\n${text.replaceAll(/^/gmu, '      ')}\n`;
  const image = (): string => `images:\n  - { image: ${reference}, namespace: ${podNamespace} }\n`;
  const pod = (seconds: number): string =>
    `staticPods:\n  - name: web\n    namespace: ${podNamespace}\n    containers:\n      - { name: main, image: ${reference}, command: [/bin/sleep, "${seconds}"] }\n`;
  const whole = (seconds = 1000): string => policy(plainPolicy) + image() + service + pod(seconds);
  const service = `services:\n  - { name: shop/web, addresses: [10.96.0.10], ports: [80], backends: [10.211.0.2] }\n`;

  before(async () => {
    const home = mkdtempSync(join(tmpdir(), 'pc-node-'));
    stage = await openStage({
      folder: home,
      async prepare() {
        // The policy path of the daemon is the link that `node apply` makes.
        renameSync(join(home, 'policy'), join(home, 'given'));
        await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
        return { 'silent.test': `http://127.0.0.1:${(silent.address() as AddressInfo).port}` };
      },
    });
    folder = join(home, 'node');
    mkdirSync(folder);
    copyFileSync(join(home, 'given/k.pub'), join(folder, 'k.pub'));
    writeFileSync(logFile(), '');
    options = [
      ...['--state', join(folder, 'state'), '--policy-folder', stage.folders.policy],
      ...['--socket', stage.folders.socket, '--admin-socket', join(stage.folders.state, 'admin.sock')],
      ...['--conf-dir', stage.folders.cniConf, '--root', stage.folders.root, '--pod-logs', stage.logs],
    ];
    ({ reference } = await stage.publish('app:1'));
  });
  after(async () => {
    await kill();
    const home = stage.folders.folder;
    silent.close();
    await stage.close();
    rmSync(home, { recursive: true, force: true });
  });

  it('refuses an invalid policy before anything is changed', async () => {
    const { code, stderr } = await apply(policy(policyOf('  - images: ["a/**"]\n    requir: {}\n')));
    assert.equal(code, 2, stderr);
    assert.match(stderr, /policy\.yaml:6:5: rules\[0\]\.requir: .*NODE_STATE_POLICY_INVALID/su);
    assert.equal(existsSync(stage.folders.policy), false);
  });

  it('applies a policy, an image, a service and a static pod in their order', async (t) => {
    start();
    const began = performance.now();
    const plan = await apply(whole(), '--dry-run');
    assert.match(
      plan.stdout,
      /policies:\n  \+ policy\n.*images:\n  \+ .*services:\n  \+ shop\/web.*staticPods:\n  \+ shop\/web/su,
    );
    assert.deepEqual(await ourPods(), []);
    await applied(whole());
    assert.ok(await runs());
    t.diagnostic(`reached after ${Math.round(performance.now() - began)} ms`);
    const { stdout } = await portcullis([
      'service',
      'ls',
      '--admin-socket',
      join(stage.folders.state, 'admin.sock'),
    ]);
    assert.match(stdout, /shop\/web +command/u);
    const status = await portcullis(['node', 'status', '--state', join(folder, 'state')]);
    assert.equal(status.code, 0, status.output);
    const diff = await portcullis(['node', 'diff', ...options]);
    assert.deepEqual([diff.code, diff.stdout], [0, ''], diff.output);
  });

  it('restarts a pod whose container was killed, and applies a removed service again', async (t) => {
    const [container] = await ourContainers();
    await stage.daemon.cri.runtime.stopContainer({ containerId: container?.id ?? '', timeout: 0 });
    const pod_ = await within('the pod runs again', async () => {
      const [now] = await ourContainers();
      return now?.id !== container?.id && (await runs());
    });
    const admin = join(stage.folders.state, 'admin.sock');
    const removed = await portcullis(['service', 'rm', 'shop/web', '--admin-socket', admin]);
    assert.equal(removed.code, 0, removed.output);
    const service_ = await within('the service is restored', async () =>
      /shop\/web +command/u.test((await portcullis(['service', 'ls', '--admin-socket', admin])).stdout),
    );
    t.diagnostic(`repaired after ${Math.round(pod_)} and ${Math.round(service_)} ms`);
  });

  it('repairs a pod while images are pulled from a registry that does not answer', async () => {
    const both = plainPolicy.replace(`"${registryName}/**"`, `"${registryName}/**", "silent.test/**"`);
    const late = pod(1000).replace('name: web', 'name: late').replace(reference, 'silent.test/late:1');
    const images = `${image()}  - { image: silent.test/app:1, namespace: ${podNamespace} }\n`;
    const pods = late + pod(1000).replace('staticPods:\n', '');
    const ending = apply(policy(both) + images + service + pods, '--timeout', '60s');
    try {
      await within('both images are asked for', () => Promise.resolve(calls.size > 1), limitMs);
      const [container] = await ourContainers();
      await stage.daemon.cri.runtime.stopContainer({ containerId: container?.id ?? '', timeout: 0 });
      await within('the pod runs again', async () => {
        const [now] = await ourContainers();
        return now?.id !== container?.id && (await runs());
      });
    } finally {
      await applied(whole());
      const ended = await ending;
      assert.equal(ended.code, 4, ended.output);
    }
  });

  it('restores a policy whose file was changed', async () => {
    const file = join(stage.folders.policy, 'policy.yaml');
    const right = readFileSync(file, 'utf8');
    writeFileSync(file, 'not a policy');
    await within('the policy is complete', () => Promise.resolve(readFileSync(file, 'utf8') === right));
  });

  it('keeps one pod when it is killed at any moment of a change', async () => {
    for (const [index, ms] of [0, 150, 400, 800].entries()) {
      const changing = apply(whole(1000 + index), '--timeout', '60s');
      await within(
        'the state is desired',
        async () =>
          JSON.stringify(JSON.parse(readFileSync(join(folder, 'state/desired.json'), 'utf8'))).includes(
            `"${1000 + index}"`,
          ),
        limitMs,
      );
      await sleep(ms);
      await kill();
      start();
      const ended = await changing;
      assert.equal(ended.code, 0, `${ended.output}\n${readFileSync(logFile(), 'utf8')}`);
      assert.ok(await runs());
    }
  });

  it('keeps a pod running while the image that replaces its own cannot be pulled', async () => {
    await applied(whole());
    const [before] = await ourPods();
    const missing = pod(1000).replace(reference, `${reference}-missing`);
    const ended = await apply(policy(plainPolicy) + image() + missing, '--timeout', '20s');
    assert.equal(ended.code, 4, ended.output);
    assert.match(ended.stderr, /staticPods .*app:1-missing/su);
    assert.deepEqual([(await ourPods()).map(({ id }) => id), await runs()], [[before?.id], true]);
  });

  it('lets no image in that only the former policy admits', async () => {
    const other = await stage.publish('app:2');
    const denied = policy(
      policyOf('  - images: ["other.test/**"]\n    require: { cosign: { key: k.pub } }\n'),
    );
    await applied(policy(plainPolicy));
    const ended = await apply(
      `${denied}images:\n  - { image: ${other.reference}, namespace: ${podNamespace} }\n`,
      '--timeout',
      '5s',
    );
    assert.equal(ended.code, 4, ended.output);
    const { image: held } = await stage.daemon.cri.image.imageStatus({ image: { image: other.reference } });
    assert.equal(held, undefined);
    assert.match(ended.stderr, /images .*app:2.*IMAGES_DENIED/su);
  });

  it('removes the objects that it created, and nothing else', async () => {
    await applied(policy(plainPolicy));
    assert.deepEqual(await ourPods(), []);
    assert.equal(
      (await stage.daemon.cri.image.imageStatus({ image: { image: reference } })).image,
      undefined,
    );
    assert.ok(existsSync(join(stage.folders.cniConf, '10-e2e.conflist')));
    await applied('');
    assert.equal(existsSync(stage.folders.policy), false);
  });
});
