import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VirtualServer } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { createInsideMarks, insideIdOf } from './inside-marks.ts';
import { isOurMark, nodePortMark } from './plan.ts';
import { serverKeyBytes } from './tables.ts';

const split = (
  number: number,
  more: Partial<VirtualServer> = {},
): VirtualServer & { readonly address: string } => ({
  ...webServer,
  insideSources: ['10.9.0.0/24'],
  destinations: [{ address: '10.2.0.11', port: 8080, weight: 0, insideWeight: 1 }],
  ...more,
  address: `192.0.2.${number}`,
});

test('each inside plane has a mark of its own, which it keeps over a restart', () => {
  const marks = createInsideMarks();
  const markOf = (server: VirtualServer): number => marks.planesOf([server])[1]?.mark ?? 0;
  const [one, two] = [markOf(split(1)), markOf(split(2))];
  assert.ok(one !== two && isOurMark(one) && isOurMark(two));
  assert.equal(markOf(split(1)), one);
  assert.deepEqual(
    marks.planesOf([webServer]).map(({ mark }) => mark),
    [undefined],
  );

  const next = createInsideMarks();
  next.adopt(new Map([[insideIdOf(4, serverKeyBytes(split(2))), two]]));
  const again = next.planesOf([split(3), split(2)]).flatMap(({ mark }) => mark ?? []);
  assert.ok(again[0] !== two && again[1] === two, again.join());
  next.settle();

  const [, plane] = marks.planesOf([split(1)]);
  assert.ok(plane);
  marks.release(plane);
  assert.notEqual(markOf(split(4)), two);
});

test('the mark of a node port is one of ours, and differs from those of other node ports', () => {
  const { address: _, ...node } = split(1, { kind: 'node', port: 30_080 });
  const marks = createInsideMarks();
  const found = (['tcp', 'udp', 'sctp'] as const).map(
    (protocol) => marks.planesOf([{ ...node, protocol }])[1]?.mark ?? 0,
  );
  assert.equal(new Set([...found, nodePortMark('tcp', 30_080)]).size, 4);
  assert.ok(found.every(isOurMark));
});
