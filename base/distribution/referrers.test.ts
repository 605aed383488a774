import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { serveHttp } from '../../test/fixtures/registry.ts';
import type { TestServer } from '../../test/fixtures/registry.ts';
import { createRegistryClient, digestOf, fallbackTag, mediaTypes, parseReference } from './index.ts';
import type { RegistryClient, RegistryRepository } from './index.ts';

const subject = digestOf(Buffer.from('subject'));
const entry = (note: string) => ({
  mediaType: mediaTypes.ociManifest,
  digest: digestOf(Buffer.from(note)),
  size: 4,
});
const list = (note: string): string =>
  JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry(note)] });

describe('a registry whose last answer was that it has no referrers API', () => {
  let server: TestServer;
  let client: RegistryClient;
  let repository: RegistryRepository;
  let hasApi = false;
  /** Resolves when the fallback tag is requested. The API answers only then. */
  let tagRequested: PromiseWithResolvers<void> | undefined;

  before(async () => {
    server = await serveHttp((request, response) => {
      if (request.url?.includes('/referrers/') !== true) {
        tagRequested?.resolve();
        answerList(response, 'tag');
      } else if (hasApi) {
        answerList(response, 'api');
      } else {
        void (tagRequested?.promise ?? Promise.resolve()).then(() => response.writeHead(404).end());
      }
    });
    client = createRegistryClient();
    [repository] = client.repositories(parseReference(`${server.host}/app`)) as [RegistryRepository];
  });
  after(async () => {
    await client.close();
    await server.close();
  });

  it('gets the request for the fallback tag before it answers for the API', { timeout: 10_000 }, async () => {
    assert.equal((await repository.referrers(subject)).via, 'fallback-tag');
    tagRequested = Promise.withResolvers();
    const { via, descriptors } = await repository.referrers(subject);
    assert.deepEqual([via, descriptors[0]?.digest], ['fallback-tag', entry('tag').digest]);
  });

  it('is believed as soon as it has the API', async () => {
    hasApi = true;
    const { via, descriptors } = await repository.referrers(subject);
    assert.deepEqual([via, descriptors.map((one) => one.digest)], ['referrers', [entry('api').digest]]);
  });

  it('is not asked for the fallback tag once it has the API', async () => {
    const before = server.requests.length;
    await repository.referrers(subject);
    assert.deepEqual(
      server.requests.slice(before).filter(({ path }) => path.includes(fallbackTag(subject))),
      [],
    );
  });
});

it('the next page is found among several Link headers', async (t) => {
  const server = await serveHttp((request, response) => {
    const isSecond = request.url?.includes('page=2') === true;
    if (!isSecond) response.setHeader('link', ['<?page=1>; rel="first"', '<?page=2>; rel="next"']);
    answerList(response, isSecond ? 'second' : 'first');
  });
  t.after(() => server.close());
  const client = createRegistryClient();
  t.after(() => client.close());
  const [repository] = client.repositories(parseReference(`${server.host}/app`));
  const found = await repository?.referrers(subject);
  assert.deepEqual(
    found?.descriptors.map((one) => one.digest),
    [entry('first').digest, entry('second').digest],
  );
});

function answerList(response: ServerResponse, note: string): void {
  response.writeHead(200, { 'content-type': mediaTypes.ociIndex }).end(list(note));
}

it('entries that are no descriptors count against the limit, so that one page is not read to its end', async (t) => {
  const server = await serveHttp((request, response) => {
    const page = Number(/page=(\d+)/u.exec(request.url ?? '')?.[1] ?? '0');
    response
      .writeHead(200, {
        'content-type': mediaTypes.ociIndex,
        link: `</v2/app/x?page=${page + 1}>; rel="next"`,
      })
      .end(JSON.stringify({ schemaVersion: 2, manifests: [0, null, entry(String(page)), {}] }));
  });
  const client = createRegistryClient();
  t.after(async () => {
    await client.close();
    await server.close();
  });
  const [repository] = client.repositories(parseReference(`${server.host}/app`)) as [RegistryRepository];
  const { descriptors, complete } = await repository.referrers(subject, { limit: 7 });
  assert.deepEqual(
    [complete, descriptors.map(({ digest }) => digest)],
    [false, [entry('0').digest, entry('1').digest]],
  );
  assert.equal(server.requests.filter(({ path }) => /referrers|page=/u.test(path)).length, 2);
});
