import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { shell, simplePod } from './check.ts';
import type { Check } from './check.ts';
import { container, isReady, stateOf } from '../node/pods.ts';

/** Sufficient on any machine, so that a failed probe fails because of its result. */
const often = { periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 30 };
const web = shell('exec httpd -f -p 8080 -h /www');

/** The kubelet runs the probes. The runtime must provide the address and exec, and report the results. */
export const probeChecks: readonly Check[] = [
  {
    name: 'probes: http, tcp and exec make pods ready',
    pods: ({ images }) => [
      simplePod('probe-http', images.app, {
        ...web,
        readinessProbe: { httpGet: { path: '/index.html', port: 8080 }, ...often, failureThreshold: 60 },
      }),
      simplePod('probe-tcp', images.app, {
        ...web,
        readinessProbe: { tcpSocket: { port: 8080 }, ...often, failureThreshold: 60 },
      }),
      simplePod('probe-exec', images.app, {
        ...web,
        readinessProbe: { exec: { command: ['test', '-e', '/www'] }, ...often, failureThreshold: 60 },
      }),
    ],
    run: async ({ pods }) => {
      for (const name of ['probe-http', 'probe-tcp', 'probe-exec']) await pods.until(name, 'ready', isReady);
    },
  },
  {
    name: 'probes: a failing liveness probe restarts the container',
    pods: ({ images }) => [
      simplePod('not-alive', images.app, {
        ...shell('touch /tmp/alive; sleep 3; rm /tmp/alive; exec sleep 600'),
        livenessProbe: { exec: { command: ['cat', '/tmp/alive'] }, ...often, initialDelaySeconds: 2 },
      }),
    ],
    run: async ({ pods }) => {
      const pod = await pods.until('not-alive', 'restarted', (one) => stateOf(one).restarts >= 1);
      assert.equal(stateOf(pod).last.terminated?.exitCode, 137);
    },
  },
  {
    name: 'probes: a failing readiness probe is reported and restarts nothing; a startup probe delays the other probes',
    pods: ({ images }) => [
      simplePod('not-ready', images.app, { readinessProbe: { httpGet: { port: 8080 }, ...often } }),
      simplePod('starts-late', images.app, {
        ...shell('sleep 5; touch /tmp/started; exec sleep 600'),
        startupProbe: {
          exec: { command: ['test', '-e', '/tmp/started'] },
          periodSeconds: 1,
          failureThreshold: 100,
          timeoutSeconds: 30,
        },
        livenessProbe: { exec: { command: ['test', '-e', '/tmp/started'] }, ...often },
      }),
    ],
    run: async ({ pods }) => {
      await pods.until('not-ready', 'started', (one) => stateOf(one).running !== undefined);
      await pods.until(
        'starts-late',
        'started',
        (one) => stateOf(one).running !== undefined && container(one).started === true,
      );
      await pause(3000);
      const pod = await pods.until('not-ready', 'running', (one) => stateOf(one).running !== undefined);
      assert.deepEqual([container(pod).ready, container(pod).restartCount], [false, 0]);
      const late = await pods.until('starts-late', 'ready', isReady);
      assert.equal(container(late).restartCount, 0);
    },
  },
];
