import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { goodState, post, requestOf, startFleet } from '../fleet.fixture.ts';
import { eventNames } from '../records/record-names.ts';
import { readAccessFile } from './access.ts';

it('many nodes that send small requests at the same time are all answered', async (t) => {
  const nodes = Array.from({ length: 200 }, (_, index) => `node-${index}`);
  const tokenOf = (node: string): string => `token-of-${node}-0123456789`;
  const file = Object.fromEntries(
    nodes.map((node) => [node, { sha256: createHash('sha256').update(tokenOf(node)).digest('hex') }]),
  );
  const access = readAccessFile('tokens.yaml', JSON.stringify({ nodes: file }));
  const { url } = await startFleet(t, { access });
  const body = JSON.stringify(goodState);
  const record = { event: eventNames.state, time: 0, attributes: new Map(), body };
  const answers = await Promise.all(
    nodes.map((node) =>
      post(url, gzipSync(requestOf(node, [record])), {
        token: tokenOf(node),
        'content-encoding': 'gzip',
      }),
    ),
  );
  assert.deepEqual(
    answers.filter(({ status }) => status !== 200).map(({ status }) => status),
    [],
  );
});
