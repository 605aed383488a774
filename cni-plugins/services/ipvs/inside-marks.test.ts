import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VirtualServer } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { createInsideMarks, insideIdOf } from './inside-marks.ts';
import { isOurMark, nodePortMark } from './plan.ts';
import { insideKeyBytes, serverKeyBytes } from './tables.ts';

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

test('a server keeps its inside plane, also over a restart, while it has sources from inside', () => {
  const marks = createInsideMarks();
  const { address: _, ...node } = split(1, { kind: 'node', port: 30_080 });
  const servers: readonly VirtualServer[] = [split(1), node];
  const like = (more: Partial<VirtualServer>): VirtualServer[] =>
    servers.map((server) => ({ ...server, ...more }));
  const drained = like({ destinations: [{ address: '10.2.0.11', port: 8080, weight: 0 }] });
  const marksOf = (from: ReturnType<typeof createInsideMarks>, some: readonly VirtualServer[]) =>
    from.planesOf(some).map(({ mark }) => mark);
  assert.equal(marksOf(marks, drained).length, 2, 'they never had one');
  const before = marksOf(marks, servers);
  assert.equal(before.length, 4);
  assert.deepEqual(marksOf(marks, drained), before);
  const next = createInsideMarks();
  next.adopt(
    new Map(
      servers.map((server, at) => [insideIdOf(4, insideKeyBytes(server)), before[2 * at + 1] ?? 0] as const),
    ),
  );
  assert.deepEqual(marksOf(next, drained), before);
  for (const plane of marks.planesOf(drained)) marks.release(plane);
  assert.equal(marksOf(marks, drained).length, 2);
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
