import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import { staleAmong } from './host-ports.ts';

const tcp = 6;
const udp = 17;
const pod = Buffer.of(10, 0, 0, 2);
const other = Buffer.of(10, 0, 0, 3);

test('connections to a port are stale, except those that the kept address answers', () => {
  const isStale = staleAmong([
    { family: 2, protocol: tcp, port: 80 },
    { family: 2, protocol: udp, port: 53, unless: pod },
  ]);
  const cases: readonly (readonly [protocol: number, port: number, answeredBy: Buffer, stale: boolean])[] = [
    [tcp, 80, pod, true],
    [tcp, 81, pod, false],
    [udp, 80, pod, false],
    [udp, 53, pod, false],
    [udp, 53, other, true],
  ];
  for (const [protocol, port, answeredBy, stale] of cases)
    assert.equal(isStale({ protocol, portTo: port, answeredBy }), stale, `${protocol} ${port}`);
});

test('the cost grows linearly with the connections, however many ports are released', async () => {
  const stale = (n: number) =>
    Array.from({ length: n }, (_, index) => ({ family: 2, protocol: tcp, port: index + 1 }) as const);
  await assertNearLinear(
    'connections and ports',
    (n) => {
      const isStale = staleAmong(stale(n));
      return Array.from({ length: n }, (_, index) =>
        isStale({ protocol: tcp, portTo: 65_535 - index, answeredBy: pod }),
      ).length;
    },
    { n: 4000 },
  );
});
