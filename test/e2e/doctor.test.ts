import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { stringify } from 'yaml';
import { pushImage } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { openStage, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openRegistries } from '../../trust/index.ts';
import { commandFile } from '../fixtures/command.ts';

interface Finding {
  readonly topic: string;
  readonly state: string;
  readonly found: string;
  readonly meaning?: readonly string[];
}

/** `portcullis doctor` with a running daemon: the report about the daemon comes from the daemon itself. */
describe('doctor on a node', () => {
  let stage: Stage;
  before(async () => {
    stage = await openStage();
  });
  after(() => stage.close());

  const examine = async (more: object = {}): Promise<(topic: string) => Finding> => {
    const { socket, root, state, policy, cniConf, folder } = stage.folders;
    const config = join(folder, 'config.yaml');
    writeFileSync(
      config,
      stringify({ socket, root, state, policy: [policy], cni: { confDir: cniConf }, ...more }),
    );
    const text = await new Promise<string>((resolve) =>
      execFile(
        process.execPath,
        [commandFile, 'doctor', '--config', config, '--output', 'json'],
        (_, stdout) => resolve(stdout),
      ),
    );
    const { chapters } = JSON.parse(text) as {
      readonly chapters: readonly { readonly findings: readonly Finding[] }[];
    };
    const findings = chapters.flatMap((chapter) => chapter.findings);
    return (topic) => {
      const found = findings.find((finding) => finding.topic === topic);
      assert.ok(found, `doctor has no finding about ${topic}`);
      return found;
    };
  };

  it('reports its version, the policy in force, the network, and the detected features of each handler', async () => {
    await stage.daemon.cri.runtime.status({});
    const about = await examine();
    assert.equal(about('daemon').state, 'fine');
    assert.match(about('policy').found, /^revision [0-9a-f]{12}, 1 rule$/);
    assert.equal(about('network').state, 'fine');
    assert.equal(about('SELinux').state, existsSync('/sys/fs/selinux/enforce') ? 'fine' : 'degraded');
    assert.match(about('handler crun').found, /crun, the default/);
    assert.doesNotMatch(about('handler crun').found, /no daemon has detected/);
  });

  it('compares mirrors by an image that was pulled by its digest', async () => {
    const { manifestDigest } = (await stage.publish('pinned:1')).image;
    const image = `${registryName}/pinned:1@${manifestDigest}`;
    await stage.pull(image);
    const about = await examine({
      registries: { mirrors: { [registryName]: { url: stage.registry.url, origin: false } } },
    });
    assert.equal(about(`mirror ${stage.registry.host}`).state, 'fine');
    await stage.daemon.cri.image.removeImage({ image: { image } });
  });

  it('names a mirror that serves an image without its evidence', async (t) => {
    const { image } = await stage.publish('mirrored:1');
    await stage.pull(`${registryName}/mirrored:1`);
    const mirrored = (url: string): object => ({
      registries: { mirrors: { [registryName]: { url, origin: false } } },
    });
    const whole = await examine(mirrored(stage.registry.url));
    assert.equal(whole(`mirror ${stage.registry.host}`).state, 'fine');
    const dropping = await startRegistry();
    t.after(() => dropping.close());
    const access = await openRegistries({ mirrors: [], insecureHosts: [] });
    t.after(() => access.close());
    const [copy] = await access.repositories({ registry: dropping.host, repository: 'mirrored' });
    assert.ok(copy);
    await pushImage(copy, image, '1');
    const found = (await examine(mirrored(dropping.url)))(`mirror ${dropping.host}`);
    assert.equal(found.state, 'degraded');
    assert.match(found.found, /^lacks 1 of 1 pieces of evidence of good\.test\/mirrored:1/);
    const down = (await examine(mirrored('http://127.0.0.1:9')))('mirror 127.0.0.1:9');
    assert.match(down.found, /^does not answer/);
  });

  it('reports that the policy of the running daemon is no longer the one on disk, and why', async () => {
    writeFileSync(join(stage.folders.policy, 'broken.yaml'), 'kind: TrustPolicy\nrulez: []\n');
    await stage.daemon.reload();
    const about = await examine();
    assert.equal(about('policy').state, 'degraded');
    assert.match(about('policy').found, /^revision [0-9a-f]{12}/);
    assert.match((about('policy').meaning ?? []).join(), /broken\.yaml:\d+:\d+/);
  });

  it('reports that no daemon answers once it is stopped', async () => {
    let about: Awaited<ReturnType<typeof examine>> | undefined;
    await stage.restart({ meanwhile: async () => void (about = await examine()) });
    // No pod can start.
    assert.equal(about?.('daemon').state, 'missing');
  });
});
