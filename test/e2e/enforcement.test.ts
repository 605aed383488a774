import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { stringify } from 'yaml';
import { createHttpServer } from '../../base/connections/index.ts';
import { enforcementEventId, policyEventsHeader } from '../../runtime/index.ts';
import type { EnforcementState } from '../../runtime/index.ts';
import { watchContainerEvents } from '../fixtures/container-events.ts';
import { patience } from '../fixtures/daemon.ts';
import { openStage, plainPolicy, podNamespace, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { commandFile } from '../fixtures/command.ts';

const port = 30_000 + (process.pid % 20_000);
const folder = mkdtempSync(join(tmpdir(), 'pc-enforcement-'));
process.once('exit', () => rmSync(folder, { recursive: true }));
const signed = `${registryName}/planted/signed:1`;
const unsigned = `${registryName}/planted/unsigned:1`;

function configFile(name: string, admitted: string, refused: string, more: object = {}): string {
  const file = join(folder, `${name}.yaml`);
  const enforcement = { admitted, refused, namespace: podNamespace };
  writeFileSync(file, stringify({ enforcement, metrics: { address: `127.0.0.1:${port}` }, ...more }));
  return file;
}

async function stateOf(stage: Stage): Promise<EnforcementState> {
  const { info } = await stage.daemon.cri.runtime.status({ verbose: true });
  return JSON.parse(info['enforcement'] ?? '{}') as EnforcementState;
}

/** Returns the condition in Status once `wanted` is true of it. */
async function until(
  stage: Stage,
  wanted: (state: EnforcementState, codes: readonly string[]) => boolean,
): Promise<EnforcementState> {
  const codesOf = ({ findings }: EnforcementState): readonly string[] => findings.map(({ code }) => code);
  let state = await stateOf(stage);
  for (
    const end = performance.now() + 4 * patience;
    !wanted(state, codesOf(state));
    state = await stateOf(stage)
  ) {
    if (performance.now() > end)
      assert.fail(`enforcement did not reach the expected state: ${JSON.stringify(state)}`);
    await pause(200);
  }
  return state;
}

/** Returns everything that pulls have left on the disk. */
function content(stage: Stage): readonly string[] {
  const images = join(stage.folders.root, 'images');
  return ['blobs', 'layers', 'ingest', 'staging'].flatMap((name) => {
    try {
      const entries = readdirSync(join(images, name), { recursive: true, withFileTypes: true });
      return entries
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name));
    } catch {
      return [];
    }
  });
}

describe('the enforcement control', () => {
  let stage: Stage;
  const enforcementEvents: { readonly reason: string; readonly message: string }[] = [];
  before(async () => {
    stage = await openStage({ flags: ['--config', configFile('pair', signed, unsigned)] });
    await watchContainerEvents(
      stage.daemon.cri,
      ({ containerId, containersStatuses }) => {
        if (containerId === enforcementEventId)
          enforcementEvents.push(...containersStatuses.map(({ reason, message }) => ({ reason, message })));
      },
      { [policyEventsHeader]: '1' },
    );
  });
  after(() => stage.close());

  const change = async (policy: string): Promise<void> => {
    stage.writePolicy(policy);
    await stage.daemon.reload();
  };

  it('is unknown while the planted images do not exist', async () => {
    const { result } = await until(stage, (_, codes) => codes.includes('PLANTED_NOT_DECIDED'));
    assert.equal(result, 'could not tell');
  });

  it('passes after a reload once they exist, in status, metric, event, log and doctor, and leaves no image and no content', async () => {
    await stage.publish('planted/signed:1');
    await stage.publish('planted/unsigned:1', {}, { sign: false });
    await stage.daemon.reload();
    const state = await until(stage, ({ result }) => result === 'pass');
    assert.deepEqual(state.findings, []);
    assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
    assert.deepEqual(content(stage), []);
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    assert.match(text, /^portcullis_enforcement\{result="pass"\} 1$/m);
    assert.match(text, /^portcullis_enforcement\{result="fail"\} 0$/m);
    // An attempt does not count as a pull of a workload.
    assert.doesNotMatch(text, /^portcullis_image_pulls_total\{/m);
    await stage.daemon.logged(/"enforcement: pass"/);
    const { socket, root, state: stateFolder, policy, cniConf } = stage.folders;
    const config = configFile('doctor', signed, unsigned, {
      socket,
      root,
      state: stateFolder,
      policy: [policy],
      cni: { confDir: cniConf },
    });
    const reported = await new Promise<string>((resolve) =>
      execFile(
        process.execPath,
        [commandFile, 'doctor', '--config', config, '--output', 'json'],
        (_, stdout) => resolve(stdout),
      ),
    );
    const { chapters } = JSON.parse(reported) as {
      chapters: { findings: { topic: string; state: string; found: string }[] }[];
    };
    const found = chapters.flatMap(({ findings }) => findings).find(({ topic }) => topic === 'enforcement');
    assert.deepEqual([found?.state, found?.found], ['fine', 'pass']);
    assert.ok(enforcementEvents.some(({ reason }) => reason === 'EnforcementPass'));
  });

  it('fails when a reloaded policy admits the unsigned image, and sends an event', async () => {
    await change(policyOf(`  - images: ["${registryName}/**"]\n    allow: unverified\n`));
    const { result, findings } = await until(stage, (_, codes) =>
      codes.includes('PLANTED_UNSIGNED_ADMITTED'),
    );
    assert.equal(result, 'fail');
    assert.equal(findings.find(({ code }) => code === 'PLANTED_UNSIGNED_ADMITTED')?.on, unsigned);
    assert.ok(findings.some(({ code }) => code === 'PLANTED_SIGNED_UNVERIFIED'));
    assert.ok(
      enforcementEvents.some(
        ({ reason, message }) =>
          reason === 'EnforcementFail' && message.includes('PLANTED_UNSIGNED_ADMITTED'),
      ),
    );
  });

  it('fails in report mode and with break-glass, and names the rule', async () => {
    await change(plainPolicy.replace('    require:', '    mode: report\n    require:'));
    const report = await until(
      stage,
      (_, codes) => codes.includes('REPORT_MODE') && codes.includes('PLANTED_UNSIGNED_ADMITTED'),
    );
    assert.match(
      report.findings.find(({ code }) => code === 'REPORT_MODE')?.on ?? '',
      /^rule .*policy\.yaml:\d+$/,
    );
    await change(
      plainPolicy.replace(
        '    require:',
        '    breakGlass: { until: 2999-01-01, reason: outage, by: ann }\n    require:',
      ),
    );
    const waiver = await until(
      stage,
      (_, codes) => codes.includes('BREAK_GLASS_WITHOUT_END') && codes.includes('PLANTED_UNSIGNED_ADMITTED'),
    );
    assert.equal(waiver.result, 'fail');
  });

  it('fails when everything is refused, although no unsigned image is admitted', async () => {
    writeFileSync(join(stage.folders.policy, 'other.pub'), otherKey());
    await change(plainPolicy.replace('k.pub', 'other.pub'));
    const { result } = await until(stage, (_, codes) => codes.includes('VERIFIER_REFUSES_ALL'));
    assert.equal(result, 'fail');
  });

  it('is unknown when no rule matches the pair: a refusal by default proves nothing', async () => {
    await change(plainPolicy.replace('good.test/**', 'god.test/**'));
    const { result } = await until(
      stage,
      (_, codes) => codes.includes('PLANTED_NO_RULE') && codes.includes('RULE_NEVER_MATCHED'),
    );
    assert.equal(result, 'could not tell');
  });

  it('fails within 60 s when the policy folder is replaced by an empty one, without any signal', async () => {
    await change(plainPolicy);
    await until(stage, ({ result }) => result === 'pass');
    const aside = join(stage.folders.folder, 'aside');
    renameSync(stage.folders.policy, aside);
    mkdirSync(stage.folders.policy);
    const { result, findings } = await until(stage, (_, codes) => codes.includes('POLICY_FOLDER_EMPTY'));
    assert.equal(result, 'fail');
    assert.equal(findings.find(({ code }) => code === 'POLICY_FOLDER_EMPTY')?.on, stage.folders.policy);
    rmdirSync(stage.folders.policy);
    renameSync(aside, stage.folders.policy);
    await stage.daemon.reload();
    await until(stage, ({ result: again }) => again === 'pass');
  });

  it('leaves no image and no content after kill -9 during an attempt', async () => {
    let asked = (): void => undefined;
    const hung = new Promise<void>((resolve) => (asked = resolve));
    // The server answers nothing, so that the client stays in the middle of an attempt.
    const server = createHttpServer(() => asked());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const slow = 'slow.test/planted/unsigned:1';
    try {
      stage.writePolicy(plainPolicy.replace('"good.test/**"', '"good.test/**", "slow.test/**"'));
      const flags = ['--config', configFile('slow', signed, slow), '--registry-mirror', `slow.test=${url}`];
      await stage.restart({ flags });
      await hung;
      await stage.restart({ kill: true });
      await until(stage, ({ result }) => result === 'pass');
      assert.deepEqual((await stage.daemon.cri.image.listImages({})).images, []);
      assert.deepEqual(content(stage), []);
    } finally {
      server.close().closeAllConnections();
    }
  });

  it('names a mirror that has the image without its signature', async () => {
    // Like a copy by a tool that copies images without their referrers.
    const { reference } = await stage.publish('planted/copied:1', {}, { sign: false });
    await stage.restart({ flags: ['--config', configFile('copied', reference, unsigned)] });
    const { result, findings } = await until(stage, (_, codes) => codes.includes('MIRROR_LACKS_EVIDENCE'));
    assert.equal(result, 'fail');
    assert.equal(findings.find(({ code }) => code === 'MIRROR_LACKS_EVIDENCE')?.on, stage.registry.url);
  });

  it('is unknown when the registry does not answer', async () => {
    await stage.registry.close();
    await stage.daemon.reload();
    const { result } = await until(stage, (_, codes) => codes.includes('PLANTED_NOT_DECIDED'));
    assert.equal(result, 'could not tell');
  });
});

function otherKey(): string {
  return String(
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' }),
  );
}
