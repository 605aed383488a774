import type { NetConnectOpts } from 'node:net';
import type { Attack, Scale } from './attack.ts';
import { all, flood } from './floods.ts';
import type { FloodPlan } from './floods.ts';
import type { Scene } from './scene.ts';

const http2 = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0';
const half = 'POST /exec/';

/** Five processes open connections and keep them open, without a request or with half of one. */
export const floodAttacks = ({ connections }: Scale): readonly Attack[] => {
  const attack = (
    name: string,
    plans: (scene: Scene) => readonly Omit<FloodPlan, 'connections'>[],
  ): Attack => ({
    name,
    async start(scene) {
      const each = plans(scene);
      const running = all(
        await Promise.all(
          each.map((plan) => flood({ ...plan, connections: Math.ceil(connections / each.length) })),
        ),
      );
      return {
        end: () =>
          running.end().then(() => ({
            lines: [`${connections} connections, each opened again when it is ended`],
            failures: [],
          })),
      };
    },
  });
  const five = <Value>(make: (index: number) => Value): Value[] => [0, 1, 2, 3, 4].map(make);
  const local = (port: number, index = 0): NetConnectOpts => ({
    host: '127.0.0.1',
    port,
    localAddress: `127.0.0.${2 + index}`,
  });
  return [
    attack('idle connections of the CRI', ({ stage }) =>
      five(() => ({ to: { path: stage.folders.socket } })),
    ),
    attack('HTTP/2 connections of the CRI', ({ stage }) =>
      five(() => ({ to: { path: stage.folders.socket }, sends: http2 })),
    ),
    attack('half requests to the streaming server', ({ streamingPort }) =>
      five(() => ({ to: local(streamingPort), sends: half })),
    ),
    attack('half calls at the CNI socket', ({ cniSocket }) =>
      five(() => ({ to: { path: cniSocket }, sends: 'PCTCNI2\0' })),
    ),
    attack('half requests to the driver', ({ driverSocket }) =>
      five(() => ({ to: { path: driverSocket }, sends: half })),
    ),
    attack('half requests to the trust service', ({ trust }) =>
      five((index) => ({ to: local(trust.port, index), sends: half })),
    ),
    attack('trust clients that send a byte a second', ({ trust }) =>
      five((index) => ({
        to: local(trust.port, index),
        sends: 'GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ',
        dribble: 'a',
      })),
    ),
    attack('DNS connections', ({ dns }) =>
      five((index) => ({
        to: { host: dns.address, port: 53, localAddress: `127.0.0.${2 + index}` },
        sends: Uint8Array.of(0, 40, 1),
      })),
    ),
  ];
};
