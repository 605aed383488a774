import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { loadPolicy } from '../../trust/index.ts';
import { policyKey } from '../../trust/keys/public-key.ts';
import {
  chainOf,
  createAuthority,
  rootExtensions,
  signerExtensions,
} from '../../trust/notation/fixtures/authority.ts';
import type { Authority, Issued } from '../../trust/notation/fixtures/authority.ts';
import { makeNotationSignature } from '../../trust/notation/sign.ts';
import { keySigner } from '../../trust/signers/signer.ts';
import { serveTufRepository } from '../../trust/sigstore/fixtures/tuf-repository.ts';
import { embeddedTrustedRoot } from '../../trust/sigstore/seeds.ts';
import { updateTrustedRoot } from '../../trust/sigstore/update-root.ts';
import { endedInDatabase } from '../../runtime/index.ts';
import { patience } from '../fixtures/daemon.ts';
import { attachEnvelope, serveFiles } from '../fixtures/notation.ts';
import type { Served } from '../fixtures/notation.ts';
import { createContainer, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage, plainPolicy, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const port = 20_000 + (process.pid % 10_000);
const policy = policyOf(`  - images: ["${registryName}/**"]
    require: { notation: { certificates: { ca: [root.crt] } } }
`);

describe('revocation lists that expire while an image is present', () => {
  const files = new Map<string, Uint8Array>();
  let stage: Stage;
  let authority: Authority;
  let lists: Served;
  let root: Issued;
  /** Each image has its own signer and list, because answers are shared between images. */
  const leaves = new Map<string, Issued>();

  before(async () => {
    stage = await openStage({ policy: plainPolicy });
    authority = createAuthority(join(stage.folders.folder, 'authority'));
    lists = await serveFiles(files);
    root = authority.issue('root', { extensions: rootExtensions });
    for (const name of ['a', 'b', 'c', 'd']) {
      const extensions = [...signerExtensions, `crlDistributionPoints=URI:${lists.url}/${name}.crl`];
      leaves.set(name, authority.issue(name, { extensions, by: root }));
    }
    mkdirSync(stage.folders.policy, { recursive: true });
    copyFileSync(root.certificate, join(stage.folders.policy, 'root.crt'));
    stage.writePolicy(policy);
    const config = join(stage.folders.folder, 'config.yaml');
    writeFileSync(config, `metrics: { address: "127.0.0.1:${port}" }\n`);
    await stage.restart({ flags: ['--config', config] });
  });
  after(async () => {
    await lists.close();
    await stage.close();
  });

  const leafOf = (name: string): Issued => {
    const leaf = leaves.get(name);
    assert.ok(leaf);
    return leaf;
  };
  const list = (name: string, seconds: number): void =>
    void files.set(`/${name}.crl`, authority.list(root, ['-crlsec', String(seconds)]));
  const publish = async (by: string): Promise<string> => {
    const [name, leaf] = [`app/${by}`, leafOf(by)];
    const { reference, image } = await stage.publish(`${name}:1`, {}, { sign: false });
    const { digest, mediaType, size } = await stage.repository(name).resolve(image.manifestDigest);
    const key = createPrivateKey(readFileSync(leaf.key));
    const half = policyKey(by, createPublicKey(key));
    assert.ok('spki' in half);
    const signer = keySigner({ public: half, private: key }, { certificates: chainOf(leaf, root) });
    const target = { mediaType, digest, size, annotations: {} };
    const made = await makeNotationSignature({ format: 'jws', target, signer, now: new Date() });
    await attachEnvelope(stage.repository(name), digest, { mediaType: made.mediaType, bytes: made.envelope });
    return reference;
  };
  /**
   * Acts while the list of an image is valid, which is a short time. If the act takes longer on a busy
   * machine, it is repeated with a list that is valid longer.
   * @returns the time in ms at which the list expires
   */
  const whileListed = async (name: string, act: () => Promise<void>): Promise<number> => {
    for (let seconds = 5; ; seconds *= 2) {
      list(name, seconds);
      const ends = Date.now() + seconds * 1_000;
      try {
        await act();
        return ends;
      } catch (thrown) {
        if (seconds > 60 || !/its revocation list held until/.test(String(thrown))) throw thrown;
      }
    }
  };
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return Number(
      text
        .split('\n')
        .find((line) => line.startsWith(name))
        ?.split(' ')[1],
    );
  };
  const until = async (what: string, condition: () => Promise<boolean>): Promise<void> => {
    for (const end = performance.now() + patience; performance.now() < end; await pause(100))
      if (await condition()) return;
    assert.fail(`${what}\n${stage.daemon.log().slice(-2000)}`);
  };
  const renewed = () => metric('portcullis_evidence_renewals_total{outcome="renewed"}');

  it('are replaced in the background before they expire, without a pull', async () => {
    const reference = await publish('a');
    let image = '';
    const ends = await whileListed('a', async () => {
      image = await stage.pull(reference);
    });
    const ended = pause(ends - Date.now() + 500);
    list('a', 3600);
    await until('the list is never renewed', async () => (await renewed()) >= 1);
    await ended;
    const pod = await runPod(stage, 'a');
    await runContainer(stage, pod, { image, reference });
    assert.equal(await metric('portcullis_evidence_ended'), 0);
    await stage.daemon.logged(/evidence was renewed/);
    await removePod(stage, pod);
  });

  it('leave a container undecided and reported after they expired, and are fetched as soon as they are available', async () => {
    const reference = await publish('b');
    let image = '';
    const ends = await whileListed('b', async () => {
      image = await stage.pull(reference);
    });
    files.clear();
    await pause(ends - Date.now() + 500);
    const pod = await runPod(stage, 'b');
    const failure = await failureOf(createContainer(stage, pod, { image, reference, name: 'first' }));
    assert.equal(failure.code, 'IMAGES_UNDECIDED', failure.message);
    assert.match(failure.message, /it is not known whether a certificate was revoked/);
    assert.equal(await metric('portcullis_evidence_ended'), 1);
    await stage.daemon.logged(/evidence has expired and cannot be renewed/);
    list('b', 3600);
    // Repeated creates do not fetch the list each time. It is fetched soon, by a create or in the background.
    await until('the container is never admitted', async () => {
      try {
        await createContainer(stage, pod, { image, reference, name: 'second' });
        return true;
      } catch {
        return false;
      }
    });
    assert.equal(await metric('portcullis_evidence_ended'), 0);
    await removePod(stage, pod);
  });

  it('can be read from the database of a stopped daemon', async () => {
    const { policy: inForce } = await loadPolicy({ paths: [stage.folders.policy] });
    const ended = (days: number): ReturnType<typeof endedInDatabase> =>
      endedInDatabase(
        join(stage.folders.root, 'state.db'),
        inForce,
        new Date(Date.now() + days * 86_400_000),
      );
    assert.deepEqual(await ended(0), []);
    const names = (await ended(1)).flatMap((one) => one.names).filter((name) => !name.includes('@'));
    assert.deepEqual(names, [`${registryName}/app/a:1`, `${registryName}/app/b:1`]);
  });

  it('that have just expired are renewed while the container waits', async () => {
    const reference = await publish('c');
    let image = '';
    const ends = await whileListed('c', async () => {
      image = await stage.pull(reference);
    });
    files.clear();
    await pause(ends - Date.now() + 500);
    list('c', 3600);
    const pod = await runPod(stage, 'c');
    await createContainer(stage, pod, { image, reference });
    await removePod(stage, pod);
  });

  it('that revoke the signer deny new containers, and report running ones', async () => {
    const reference = await publish('d');
    const pod = await runPod(stage, 'd');
    let image = '';
    await whileListed('d', async () => {
      image = await stage.pull(reference);
      await runContainer(stage, pod, { image, reference, command: ['sleep', '600'] });
    });
    authority.revoke(root, leafOf('d'));
    list('d', 3600);
    await until(
      'the revocation never takes effect',
      async () => (await metric('portcullis_containers_out_of_policy')) === 1,
    );
    const failure = await failureOf(createContainer(stage, pod, { image, reference, name: 'second' }));
    assert.equal(failure.code, 'IMAGES_DENIED', failure.message);
    assert.match(failure.message, /a certificate was revoked/);
    await removePod(stage, pod);
  });
});

describe('sigstore roots of a TUF repository', () => {
  const root = (space?: number): Buffer =>
    Buffer.from(JSON.stringify(JSON.parse(embeddedTrustedRoot().toString()), null, space));

  it('are updated by the daemon, which then reloads the policy; roots that cannot be updated stay, with a report', async (t) => {
    const stage = await openStage({ policy: plainPolicy });
    const cache = join(stage.folders.folder, 'roots');
    const repository = await serveTufRepository(t, 8);
    const { url } = repository;
    try {
      repository.publish(1, root());
      await updateTrustedRoot({ url, cache, tufRoot: repository.root });
      const require = `sigstore: { issuer: https://issuer.test, subject: a@example.com, root: { tuf: { url: "${url}", cache: "${cache}" } } }`;
      stage.writePolicy(policyOf(`  - images: ["${registryName}/**"]\n    require: { ${require} }\n`));
      repository.publish(2, root(1));
      await stage.daemon.reload();
      const [first] = revisions(stage);
      await stage.daemon.logged(/a sigstore root was updated/);
      await stage.daemon.logged(/"cause":"change","msg":"policy in force"/);
      assert.notEqual(revisions(stage).at(-1), first);
      // From here on, its metadata does not change, and expires.
      await stage.daemon.logged(/a sigstore root could not be updated/);
    } finally {
      await stage.close();
    }
  });

  function revisions(stage: Stage): readonly string[] {
    return [
      ...stage.daemon.log().matchAll(/"revision":"([^"]+)","rules":1,"cause":"(?:signal|change)"/g),
    ].map(([, revision = '']) => revision);
  }
});
