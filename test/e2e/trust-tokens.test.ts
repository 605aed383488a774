import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRegistryClient, parseReference } from '../../base/distribution/index.ts';
import { signImage } from '../../trust/index.ts';
import { startTrustService } from '../../trust/notary/index.ts';
import type { TrustService } from '../../trust/notary/index.ts';
import { beginCollection } from '../fixtures/collection.ts';
import { patience } from '../fixtures/daemon.ts';
import { buildImage, pushImage } from '../fixtures/image.ts';
import { registryUser as user, startRegistry } from '../fixtures/registry.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { failureOf, openStage, plainPolicy, podNamespace, policyOf } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { startTokenServer } from '../fixtures/token-server.ts';
import type { TokenServer } from '../fixtures/token-server.ts';

/**
 * A registry and a trust service with one token server, and a second service with a token server on another
 * host.
 */
describe('a trust service that demands tokens', () => {
  let stage: Stage;
  let registry: TestRegistry;
  let tokens: TokenServer;
  let foreign: TokenServer;
  const services: TrustService[] = [];
  /** The numbers of token requests of the publisher, before the tests. */
  let [askedBefore, foreignBefore] = [0, 0];

  const pull = (
    name: string,
    credentials?: { readonly username: string; readonly password: string },
  ): Promise<unknown> =>
    stage.daemon.cri.image.pullImage(
      {
        image: { image: `${registry.host}/${name}:1` },
        ...(credentials === undefined ? {} : { auth: credentials }),
        sandboxConfig: { metadata: { name: 'p', uid: 'u', namespace: podNamespace, attempt: 0 } },
      },
      { timeoutMs: 2 * patience },
    );

  before(async () => {
    stage = await openStage({ policy: plainPolicy });
    const { folder, policy } = stage.folders;
    tokens = await startTokenServer({ folder, user, open: 'open/app' });
    foreign = await startTokenServer({ folder, user, address: '127.0.0.2' });
    registry = await startRegistry({ tokens });
    for (const { realm, issuer, certificate } of [tokens, foreign]) {
      const data = join(folder, `service-${services.length}`);
      const authority = { realm, issuer, service: 'trust', certificates: readFileSync(certificate, 'utf8') };
      services.push(await startTrustService({ listen: '127.0.0.1:0', data, tokens: authority }));
    }
    // As `docker login` writes it: the publisher’s credentials, which the daemon does not see.
    const logins = join(folder, 'logins');
    mkdirSync(logins);
    const auth = Buffer.from(`${user.username}:${user.password}`).toString('base64');
    const hosts = [registry.host, ...services.map(({ url }) => new URL(url).host)];
    writeFileSync(
      join(logins, 'config.json'),
      JSON.stringify({ auths: Object.fromEntries(hosts.map((host) => [host, { auth }])) }),
    );
    const before = process.env['DOCKER_CONFIG'];
    process.env['DOCKER_CONFIG'] = logins;
    const client = createRegistryClient({ tagSettleMs: 0 });
    const rules: string[] = [];
    try {
      for (const [name, service] of [
        ['team/app', services[0]],
        ['open/app', services[0]],
        ['far/app', services[1]],
      ] as const) {
        const reference = `${registry.host}/${name}`;
        const [repository] = client.repositories(parseReference(reference), user);
        assert.ok(repository && service);
        const image = await buildImage();
        await pushImage(repository, image, '1');
        await signImage({
          repository,
          digest: image.manifestDigest,
          key: stage.key,
          format: 'bundle',
          now: new Date(),
        });
        const collection = await beginCollection({
          folder: join(folder, 'owner'),
          name: reference,
          destination: service.url,
        });
        await collection.publish({ 1: `${reference}:1` });
        const root = `.${name.replace('/', '-')}-root.json`;
        copyFileSync(collection.rootFile, join(policy, root));
        rules.push(
          `  - images: ["${reference}"]\n    require:\n      all:\n        - tuf: { service: "${service.url}", root: ${root}, maxAge: 1h }\n        - cosign: { key: k.pub }\n`,
        );
      }
    } finally {
      if (before === undefined) delete process.env['DOCKER_CONFIG'];
      else process.env['DOCKER_CONFIG'] = before;
      await client.close();
    }
    stage.writePolicy(policyOf(rules.join('')));
    await stage.restart();
    [askedBefore, foreignBefore] = [tokens.asked.length, foreign.asked.length];
  });
  after(async () => {
    for (const service of services) await service.close();
    await registry.close();
    await tokens.close();
    await foreign.close();
    await stage.close();
  });

  it('is read with the pull’s credentials, only for the metadata of this image', async () => {
    await pull('team/app', user);
    const asked = tokens.asked.slice(askedBefore).filter(({ service }) => service === 'trust');
    assert.deepEqual(asked, [
      {
        service: 'trust',
        scope: `repository:${registry.host}/team/app:pull`,
        user: user.username,
        anonymous: false,
      },
    ]);
    assert.doesNotMatch(stage.daemon.log(), new RegExp(user.password, 'u'));
  });

  it('is read anonymously if the pull has no credentials', async () => {
    await pull('open/app');
    assert.ok(
      tokens.asked.slice(askedBefore).some(({ service, anonymous }) => service === 'trust' && anonymous),
    );
    const failure = await failureOf(pull('team/app'));
    assert.doesNotMatch(failure.message, /internal/u);
  });

  it('receives no credentials through a token server that is not the registry’s', async () => {
    const failure = await failureOf(pull('far/app', user));
    assert.match(failure.message, /requires authentication/u);
    const asked = foreign.asked.slice(foreignBefore);
    assert.ok(asked.length > 0);
    assert.ok(asked.every(({ anonymous }) => anonymous));
  });
});
