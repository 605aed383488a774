import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCampaign } from './campaign.ts';
import { startService } from './started-service.ts';

/** `npm run test:trust-requests -- --requests 100000` is the long form. */
const requests = Number(process.env['PORTCULLIS_TRUST_REQUESTS'] ?? 1500);
const seed = Number(process.env['PORTCULLIS_TRUST_REQUESTS_SEED'] ?? process.env['FUZZ_SEED'] ?? 1);

describe('the trust service under random requests', () => {
  for (const tokens of [false, true])
    it(`answers each with a status and never ends, ${tokens ? 'with' : 'without'} tokens`, async () => {
      const { statuses } = await runCampaign({ requests, seed, tokens });
      // The generator covers allowed, refused and malformed requests.
      for (const status of [200, 400, 404, 405, ...(tokens ? [401] : [])])
        assert.ok(statuses.has(status), `no answer had status ${status}: ${JSON.stringify([...statuses])}`);
    });
});

/** Names that the service put into a header of the answer, which ended the process. */
describe('the trust service, on a request for a collection whose name no header can contain,', () => {
  it('answers 400 and goes on, with and without tokens', async () => {
    const names = ['a%0ab', '%E2%82%AC', 'a%0d%0aX:%20y', '%00', '%ff', '%'];
    for (const tokens of [false, true]) {
      const service = await startService({ tokens });
      try {
        for (const name of names)
          for (const path of [
            `/v2/${name}/_trust/tuf/root.json`,
            `/tuf/${name}/root.json`,
            `/v2/${name}/_trust/changefeed?records=1`,
          ])
            assert.equal((await service.ask(`GET ${path}`)).status, 400, path);
        assert.equal((await service.ask('GET /_notary_server/health')).status, 200);
      } finally {
        await service.end();
      }
    }
  });

  it('quotes a name that has a quotation mark or a backslash', async () => {
    const service = await startService({ tokens: true });
    try {
      const { status, text } = await service.ask('GET /tuf/a%22,scope=%22b%5c/root.json');
      assert.equal(status, 401);
      const [, value = ''] = /^WWW-Authenticate: (.*)$/mu.exec(text.replaceAll('\r', '')) ?? [];
      // A reader of RFC 9110 finds three parameters, and in the last one the name as in the request.
      const quoted = [...value.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/gu)].map(([, key, said = '']) => [
        key,
        said.replace(/\\(.)/gu, '$1'),
      ]);
      assert.deepEqual(quoted.slice(1), [
        ['service', 'trust'],
        ['scope', 'repository:a",scope="b\\:pull'],
      ]);
    } finally {
      await service.end();
    }
  });
});
