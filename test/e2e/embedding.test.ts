import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { layOutPackage } from '../fixtures/built-bundle.ts';
import { createCriClient } from '../../runtime/client.ts';
import { conflist, openStage, podNamespace, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const repository = join(import.meta.dirname, '../..');
const examples = join(repository, 'docs/examples');

/**
 * Every example of docs/embedding.md and docs/trust-library.md, as a user runs it: with the installed
 * package.
 */
describe('the examples of docs/embedding.md', () => {
  let stage: Stage;
  let folder = '';
  let reference = '';
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-embed-'));
    mkdirSync(join(folder, 'node_modules'));
    await layOutPackage(join(folder, 'node_modules/portcullis'));
    symlinkSync(join(repository, 'node_modules/@koromix'), join(folder, 'node_modules/@koromix'));
    for (const name of readdirSync(examples)) copyFileSync(join(examples, name), join(folder, name));
    stage = await openStage({
      policy: policyOf(
        `  - images: ["${registryName}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: baseline }\n`,
      ),
    });
    ({ reference } = await stage.publish('jobs/report:1'));
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function node(
    ...args: string[]
  ): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        args,
        { cwd: folder, timeout: 60_000, env: { ...process.env, COSIGN_PASSWORD: '' } },
        (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code ?? 255), stdout, stderr }),
      );
    });
  }

  it('run-job: returns the output and the exit code of the job, and leaves nothing behind', async () => {
    const job = await node(
      'run-job.mjs',
      stage.folders.socket,
      reference,
      'sh',
      '-c',
      'echo out; echo err >&2; exit 7',
    );
    assert.deepEqual(job, { code: 7, stdout: 'out\n', stderr: 'err\n' });
    assert.deepEqual((await stage.daemon.cri.runtime.listPodSandbox({})).items, []);
  });

  it('run-job: refuses an unsigned image with the reason, before anything runs', async () => {
    const unsigned = await stage.publish('jobs/unsigned:1', {}, { sign: false });
    const job = await node('run-job.mjs', stage.folders.socket, unsigned.reference, 'true');
    assert.equal(job.code, 125);
    assert.match(job.stderr, /SignatureValidationFailed.*IMAGES_DENIED/s);
    assert.deepEqual((await stage.daemon.cri.runtime.listPodSandbox({})).items, []);
  });

  it('sign-image and decide-offline (docs/trust-library.md): sign, gather evidence, and decide without a registry', async () => {
    const { host } = stage.registry;
    const name = 'library/trust';
    await stage.publish(`${name}:1`, {}, { sign: false });
    const { generateKeyPair } = await import('../../trust/index.ts');
    await generateKeyPair(join(folder, 'own'), { environment: { PORTCULLIS_PASSPHRASE: '' } });
    writeFileSync(
      join(folder, 'own.yaml'),
      policyOf(`  - images: ["${host}/**"]\n    require: { cosign: { key: own.pub } }\n`),
    );
    const decided = async (): Promise<number> => {
      const gathered = await node('decide-offline.mjs', 'gather', 'own.yaml', host, name, '1');
      assert.equal(gathered.code, 0, gathered.stderr);
      const child = spawn(process.execPath, ['decide-offline.mjs', 'decide', 'own.yaml'], {
        cwd: folder,
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      child.stdin.end(gathered.stdout);
      const [code] = (await once(child, 'exit')) as [number];
      return code;
    };
    assert.equal(await decided(), 1);
    const signed = await node('sign-image.mjs', `${host}/${name}:1`, 'own.key');
    assert.equal(signed.code, 0, signed.stderr);
    assert.equal(await decided(), 0);
  });

  it('judge: prints the verdict and its ceiling', async () => {
    const mirror = `${registryName}=${stage.registry.url}`;
    const admitted = await node('judge.mjs', stage.folders.policy, reference, podNamespace, mirror);
    assert.equal(admitted.code, 0, admitted.stderr);
    assert.match(admitted.stdout, /^at most \(baseline\): .*CHOWN/m);
    const { reference: unsigned } = await stage.publish('jobs/other:1', {}, { sign: false });
    assert.equal((await node('judge.mjs', stage.folders.policy, unsigned, podNamespace, mirror)).code, 1);
  });

  it('compare-profiles (docs/entitlements-library.md): checks a profile against a ceiling, and answers a question', async () => {
    const within = await node('compare-profiles.mjs', 'restricted', 'baseline');
    assert.deepEqual([within.code, within.stderr], [0, '']);
    assert.match(within.stdout, /no program under this profile can call socket\(AF_ALG\)/);
    assert.equal((await node('compare-profiles.mjs', 'default', 'restricted')).code, 1);
  });

  it('own-daemon: a separate program serves the CRI, and exits', async () => {
    const own = join(folder, 'own');
    mkdirSync(join(own, 'cni'), { recursive: true });
    writeFileSync(
      join(own, 'cni/10-own.conflist'),
      conflist.replaceAll('e2e0', 'own0').replaceAll('10.211.0', '10.212.0'),
    );
    const settings = {
      socket: 'own.sock',
      root: 'root',
      state: 'state',
      policy: [stage.folders.policy],
      cni: { confDir: 'cni' },
    };
    writeFileSync(join(own, 'config.yaml'), JSON.stringify(settings));
    // The daemon of the stage owns this network namespace.
    const words = ['--net', process.execPath, 'own-daemon.mjs', 'own/config.yaml'];
    const child = spawn('unshare', words, { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] });
    const exited = once(child, 'exit') as Promise<[number | null]>;
    let said = '';
    for await (const chunk of child.stdout) if ((said += String(chunk)).includes('serving on')) break;
    assert.match(said, /serving on .*own\.sock/);
    const cri = createCriClient(join(own, 'own.sock'));
    assert.equal((await cri.runtime.version({})).runtimeName, 'portcullis');
    cri.close();
    child.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
  });

  it('are the files that the text names', () => {
    const text = [
      'embedding.md',
      'trust-library.md',
      'entitlements-library.md',
      ...readdirSync(join(repository, 'docs/tutorials')).map((name) => `tutorials/${name}`),
    ]
      .map((name) => readFileSync(join(repository, 'docs', name), 'utf8'))
      .join('\n');
    for (const name of readdirSync(examples))
      assert.match(
        text,
        new RegExp(
          `\\((?:\\.\\./)?examples/${name.replace('.', '\\.')}\\)|docs/examples/${name.replace('.', '\\.')}`,
          'u',
        ),
      );
  });
});
