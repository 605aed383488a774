/**
 * Keyless signing: the identity that a CI system, a variable or a file offers, through the command as a job
 * calls it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { portcullis } from '../test/fixtures/command.ts';
import { buildImage, pushImage } from '../test/fixtures/image.ts';
import { findRegistry, serveHttp, startRegistry } from '../test/fixtures/registry.ts';
import type { TestRegistry, TestServer } from '../test/fixtures/registry.ts';
import { parseReference } from '../base/distribution/index.ts';
import { explainVerdict, loadPolicy, openRegistries, verifyImage } from '../trust/index.ts';
import { startMockSigstore } from '../trust/sigstore/fixtures/mock-sigstore.ts';
import type { MockSigstore } from '../trust/sigstore/fixtures/mock-sigstore.ts';

const gitHub = 'https://token.actions.githubusercontent.com';
const bearer = 'the-bearer-of-this-job';

describe(
  'keyless signing in CI',
  { skip: findRegistry() === undefined ? 'no docker-registry' : false },
  () => {
    let folder = '';
    let registry: TestRegistry;
    let services: MockSigstore;
    let github: TestServer;
    let hostile: TestServer;
    let made = 0;
    before(async () => {
      folder = mkdtempSync(join(tmpdir(), 'pc-keyless-ci-'));
      registry = await startRegistry();
      services = await startMockSigstore();
      writeFileSync(join(folder, 'root.json'), JSON.stringify(services.trustedRoot()));
      writeFileSync(
        join(folder, 'signing_config.json'),
        JSON.stringify(services.signingConfig({ rekor: 2 })),
      );
      github = await serveHttp((request, response) => {
        const url = new URL(request.url ?? '', 'http://localhost');
        if (url.pathname === '/moved')
          response.writeHead(307, { location: '/token?audience=sigstore' }).end();
        else if (url.pathname === '/words')
          response.end(`no JSON but ${tokenOf('https://a.example/x', gitHub)}`);
        else if (
          request.headers.authorization !== `Bearer ${bearer}` ||
          url.searchParams.get('audience') !== 'sigstore'
        )
          response.writeHead(401).end();
        else
          response.end(
            JSON.stringify({ count: 1, value: tokenOf('repo:example/app:ref:refs/tags/v1', gitHub) }),
          );
      });
      // A certificate authority that repeats what it received.
      hostile = await serveHttp((request, response) => {
        let body = '';
        request.on('data', (chunk: Buffer) => (body += chunk.toString()));
        request.on('end', () =>
          response
            .writeHead(400, { 'content-type': 'application/json' })
            .end(JSON.stringify({ message: body })),
        );
      });
      const agent = join(folder, 'buildkite-agent');
      const subject = 'organization:example:pipeline:app:ref:refs/tags/v1';
      const answer = `printf '%s\\n' '${tokenOf(subject, 'https://agent.buildkite.com')}'`;
      writeFileSync(
        agent,
        `#!/bin/sh\n[ "$*" = 'oidc request-token --audience sigstore' ] || exit 9\n${answer}\n`,
        { mode: 0o755 },
      );
      writeFileSync(
        join(folder, 'token'),
        `${tokenOf('https://build.example/job/7', 'https://build.example')}\n`,
      );
    });
    after(async () => {
      await Promise.all([github.close(), hostile.close(), services.close()]);
      await registry.close();
      rmSync(folder, { recursive: true });
    });

    function tokenOf(subject: string, issuer: string, more: Readonly<Record<string, unknown>> = {}): string {
      const exp = Math.floor(Date.now() / 1000) + 300;
      return [
        '{"alg":"RS256"}',
        JSON.stringify({ sub: subject, iss: issuer, aud: 'sigstore', exp, ...more }),
        'a signature',
      ]
        .map((part) => Buffer.from(part).toString('base64url'))
        .join('.');
    }

    async function publish(): Promise<string> {
      const access = await openRegistries({ mirrors: [], insecureHosts: [] });
      try {
        const name = `${registry.host}/app-${(made += 1)}`;
        const [repository] = await access.repositories(parseReference(name));
        assert.ok(repository);
        await pushImage(repository, await buildImage({ base: false }), '1');
        return `${name}:1`;
      } finally {
        await access.close();
      }
    }

    async function assertSignedBy(reference: string, subject: string, issuer: string): Promise<void> {
      const file = join(folder, 'policy.json');
      const rules = [{ images: ['**'], require: { sigstore: { issuer, subject, root: 'root.json' } } }];
      writeFileSync(
        file,
        JSON.stringify({ apiVersion: 'portcullis.dev/v1alpha1', kind: 'TrustPolicy', rules }),
      );
      const registries = await openRegistries({ mirrors: [], insecureHosts: [] });
      try {
        const { policy } = await loadPolicy({ paths: [file] });
        const { verdict } = await verifyImage({
          reference,
          namespace: '',
          policy,
          registry: registries,
          now: new Date(),
        });
        assert.equal(verdict.outcome, 'admit', explainVerdict(verdict));
      } finally {
        await registries.close();
      }
    }

    const environmentOf = (more: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
      PATH: process.env['PATH'],
      HOME: folder,
      ...more,
    });
    const sign = (
      reference: string,
      environment: NodeJS.ProcessEnv,
      ...more: readonly string[]
    ): ReturnType<typeof portcullis> =>
      portcullis(
        ['sign', reference, '--keyless', '--signing-config', join(folder, 'signing_config.json'), ...more],
        environmentOf(environment),
      );

    const offers: readonly {
      readonly name: string;
      readonly environment: () => NodeJS.ProcessEnv;
      readonly flags?: () => readonly string[];
      readonly subject: string;
      readonly issuer: string;
    }[] = [
      {
        name: 'GitHub Actions',
        environment: () => ({
          ACTIONS_ID_TOKEN_REQUEST_URL: `${github.url}/token?api-version=2.0`,
          ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer,
        }),
        subject: 'repo:example/app:ref:refs/tags/v1',
        issuer: gitHub,
      },
      {
        name: 'GitLab',
        environment: () => ({
          GITLAB_CI: 'true',
          SIGSTORE_ID_TOKEN: tokenOf('project_path:example/app:ref_type:tag:ref:v1', 'https://gitlab.com', {
            user_email: 'a@b.example',
          }),
        }),
        subject: 'project_path:example/app:ref_type:tag:ref:v1',
        issuer: 'https://gitlab.com',
      },
      {
        name: 'Buildkite',
        environment: () => ({ BUILDKITE: 'true', PATH: `${folder}:${process.env['PATH'] ?? ''}` }),
        subject: 'organization:example:pipeline:app:ref:refs/tags/v1',
        issuer: 'https://agent.buildkite.com',
      },
      {
        name: 'a variable that is named',
        environment: () => ({ MY_TOKEN: tokenOf('https://build.example/job/8', 'https://build.example') }),
        flags: () => ['--identity-token-env', 'MY_TOKEN'],
        subject: 'https://build.example/job/8',
        issuer: 'https://build.example',
      },
      {
        name: 'a file that is named',
        environment: () => ({}),
        flags: () => ['--identity-token-file', join(folder, 'token')],
        subject: 'https://build.example/job/7',
        issuer: 'https://build.example',
      },
    ];

    for (const { name, environment, flags, subject, issuer } of offers) {
      test(`${name} identifies the signer`, async () => {
        const reference = await publish();
        const signed = await sign(reference, environment(), ...(flags?.() ?? []));
        assert.equal(signed.code, 0, signed.output);
        assert.doesNotMatch(signed.output, new RegExp(`eyJ|${bearer}`));
        await assertSignedBy(reference, subject, issuer);
      });
    }

    // Longer than the excerpt of an answer that is shown: a truncated token is part of a token.
    const hidden = (): string =>
      tokenOf('hidden@example.com', 'https://hidden.example', { more: 'x'.repeat(2000) });
    const refusals: readonly {
      readonly name: string;
      readonly environment: () => NodeJS.ProcessEnv;
      readonly flags?: () => readonly string[];
      readonly says: RegExp;
    }[] = [
      {
        name: 'no source offers an identity',
        environment: () => ({}),
        says: /there is no identity token.*TRUST_IDENTITY_TOKEN/s,
      },
      {
        name: 'the token has expired',
        environment: () => ({
          SIGSTORE_ID_TOKEN: tokenOf('hidden@example.com', 'https://hidden.example', { exp: 1_600_000_000 }),
        }),
        says: /it expired at 2020-09-13/,
      },
      {
        name: 'the variable holds no token',
        environment: () => ({ SIGSTORE_ID_TOKEN: 'hidden words' }),
        says: /it is not a token/,
      },
      {
        name: 'the token service redirects to another host',
        environment: () => ({
          ACTIONS_ID_TOKEN_REQUEST_URL: `${github.url}/moved`,
          ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer,
        }),
        says: /GitHub Actions.*redirect/s,
      },
      {
        name: 'the token service does not answer in JSON',
        environment: () => ({
          ACTIONS_ID_TOKEN_REQUEST_URL: `${github.url}/words`,
          ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer,
        }),
        says: /the answer of its token service is not JSON/,
      },
      {
        name: 'the bearer token is rejected',
        environment: () => ({
          ACTIONS_ID_TOKEN_REQUEST_URL: `${github.url}/token`,
          ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'hidden',
        }),
        says: /answers 401/,
      },
      {
        name: 'there is no buildkite-agent',
        environment: () => ({ BUILDKITE: 'true', PATH: '/nonexistent' }),
        says: /buildkite-agent.*there is no such program/s,
      },
      {
        name: 'the certificate authority repeats the token',
        environment: () => ({ SIGSTORE_ID_TOKEN: hidden() }),
        flags: () => ['--fulcio-url', hostile.url],
        says: /answers 400.*TRUST_FULCIO_FAILED/s,
      },
      {
        name: 'the certificate authority is contacted over plain HTTP',
        environment: () => ({ SIGSTORE_ID_TOKEN: hidden() }),
        flags: () => ['--fulcio-url', 'http://fulcio.example'],
        says: /is not https.*TRUST_SIGNING_CONFIG/s,
      },
    ];

    for (const { name, environment, flags, says } of refusals) {
      test(`nothing is signed, and no part of a token is shown, when ${name}`, async () => {
        const refused = await sign(`${registry.host}/app-1:1`, environment(), ...(flags?.() ?? []));
        assert.ok(refused.code !== null && [2, 3, 4].includes(refused.code), refused.output);
        assert.match(refused.output, says);
        assert.doesNotMatch(refused.output, new RegExp(`eyJ|hidden|${bearer}`));
      });
    }
  },
);
