import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { daemonFolders, patience } from '../fixtures/daemon.ts';
import type { DaemonFolders } from '../fixtures/daemon.ts';
import { removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { conflist, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/**
 * A second daemon with its own root, state and socket, in the network namespace of a daemon that has pods.
 */
const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');

interface Outcome {
  readonly status: number | null;
  readonly said: string;
}

describe('a second daemon in the network namespace of the first', () => {
  let stage: Stage;
  let pod: Pod;
  let other: DaemonFolders;
  let address = '';
  before(async () => {
    stage = await openStage();
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'first');
    await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    address =
      (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id })).status?.network?.ip ?? '';
    other = daemonFolders(join(stage.folders.folder, 'second'));
    for (const path of [other.policy, other.cniConf]) mkdirSync(path, { recursive: true });
    // The same network, as in a copied configuration.
    execFileSync('cp', ['-r', `${stage.folders.cniConf}/.`, other.cniConf]);
    assert.ok(conflist.includes('e2e0'));
  });
  after(() => stage.close());

  const start = (folders: DaemonFolders, wrapper: readonly string[] = []): Outcome => {
    const { socket, root, state, policy, cniConf } = folders;
    const args = [
      '--socket',
      socket,
      '--root',
      root,
      '--state',
      state,
      '--policy',
      policy,
      '--cni-conf-dir',
      cniConf,
    ];
    const [program, ...words] = [...wrapper, launcher, ...args, '--cgroup-driver', 'cgroupfs'];
    const { status, stdout, stderr } = spawnSync(program, words, {
      encoding: 'utf8',
      timeout: patience,
      killSignal: 'SIGKILL',
    });
    return { status, said: `${stdout}${stderr}` };
  };
  const kernel = (): string =>
    ['ip -o link', 'ip -o address', 'ip route', 'nft --stateless list ruleset']
      .map((command) => execFileSync('sh', ['-c', command], { encoding: 'utf8' }))
      .join('\n')
      .replaceAll(/packets \d+ bytes \d+| tentative/gu, '');
  const mountPoints = (): readonly (string | undefined)[] =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4]);
  const answers = (): boolean => spawnSync('busybox', ['ping', '-c1', '-W2', address]).status === 0;

  it('exits with 4, names the first daemon and how to avoid the conflict, and changes nothing', () => {
    assert.ok(answers());
    const existing = kernel();
    const mounted = mountPoints();
    const { status, said } = start(other);
    assert.equal(status, 4, said);
    assert.match(said, /\[NETWORK_NAMESPACE_IN_USE\]/u);
    assert.deepEqual(mountPoints(), mounted, 'its folders are no mounts of their own any more');
    assert.ok(said.includes(`process ${stage.daemon.pid} manages its links and rules`), said);
    assert.match(said, /net:\[\d+\].*another network namespace/su);
    assert.equal(kernel(), existing);
    assert.ok(answers());
    assert.ok(!existsSync(join(other.root, 'network.db')));
  });

  it('claims the namespace without a rule or a table that other tools would see', () => {
    assert.doesNotThrow(
      () => void JSON.parse(execFileSync('nft', ['-j', 'list', 'ruleset'], { encoding: 'utf8' })),
    );
  });

  it('is refused in another mount and PID namespace as well', () => {
    const existing = kernel();
    const { status, said } = start(other, [
      'unshare',
      '--mount',
      '--pid',
      '--fork',
      '--mount-proc',
      '--propagation',
      'private',
    ]);
    assert.equal(status, 4, said);
    assert.match(said, /\[NETWORK_NAMESPACE_IN_USE\]/u);
    assert.equal(kernel(), existing);
  });

  it('is refused before it writes anything if a daemon serves its socket', () => {
    const third = { ...daemonFolders(join(stage.folders.folder, 'third')), socket: stage.folders.socket };
    const { status, said } = start(third);
    assert.equal(status, 4, said);
    assert.match(said, /\[CRI_SOCKET_IN_USE\]/u);
    assert.ok(!existsSync(join(third.root, 'state.db')));
  });

  it('does not change the pods of the first daemon while that one is stopped, and the first continues with them', async () => {
    let existing = '';
    await stage.restart({
      kill: true,
      meanwhile: () => {
        existing = kernel();
        const { status, said } = start(other);
        assert.equal(status, 4, said);
        assert.match(said, /pc[0-9a-f]{12} \(portcullis:[0-9a-f]{16}\).*\[NETWORK_LINKS_OF_ANOTHER_ROOT\]/su);
        assert.equal(kernel(), existing);
        return Promise.resolve();
      },
    });
    assert.ok(answers());
    await removePod(stage, pod);
  });

  it('serves once the first daemon and everything of it is gone', async () => {
    await stage.restart({
      meanwhile: () => {
        const log = join(stage.folders.folder, 'second.log');
        const { status } = start(other, [
          'sh',
          '-c',
          `"$@" >${log} 2>&1 & daemon=$!; until grep -q 'serving CRI' ${log}; do sleep 0.1; done; kill $daemon; wait $daemon`,
          'sh',
        ]);
        assert.equal(status, 0, existsSync(log) ? readFileSync(log, 'utf8').slice(-3000) : '');
        rmSync(log);
        return Promise.resolve();
      },
    });
  });
});
