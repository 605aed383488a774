import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { shell, simplePod } from './check.ts';
import type { Check } from './check.ts';
import { logOf } from './facts.ts';
import { patience } from '../../fixtures/kubelet/patience.ts';
import { isReady, stateOf } from '../node/pods.ts';
import { throughPortForward } from './port-forward.ts';
import { execQuery, exitCodeOf, openStreams } from './stream-clients.ts';

const target = '/shop/streams-node/main';
/** Number of lines: about 300 KiB, several times the size limit of a log (node.ts, containerLogMaxSize). */
const chatter = 3_000;

/** Checks through the server of the kubelet, :10250. */
export const streamChecks: readonly Check[] = [
  {
    name: 'logs: complete, the last lines, with timestamps, and of the previous container',
    pods: ({ images }) => {
      // It fails once, because a kubelet keeps only the last failed container.
      const main = {
        ...shell(
          'for i in 1 2 3; do echo line $i; done; test -e /kept/marker && exec sleep 600; touch /kept/marker; exit 1',
        ),
        volumeMounts: [{ name: 'kept', mountPath: '/kept' }],
      };
      return [simplePod('logs', images.app, main, { volumes: [{ name: 'kept', emptyDir: {} }] })];
    },
    run: async (node) => {
      await node.pods.until(
        'logs',
        'restarted',
        (one) => stateOf(one).restarts === 1 && stateOf(one).running !== undefined,
      );
      const whole = 'line 1\nline 2\nline 3\n';
      // The container runs, but may not have written anything yet.
      for (let left = 100; left > 0 && (await logOf(node, 'logs')).length < whole.length; left -= 1)
        await pause(100);
      assert.equal(await logOf(node, 'logs'), whole);
      assert.match(await logOf(node, 'logs', 'main', '?previous=true'), /^line 1\nline 2\nline 3\n$/);
      assert.equal(await logOf(node, 'logs', 'main', '?previous=true&tailLines=1'), 'line 3\n');
      assert.match(
        await logOf(node, 'logs', 'main', '?previous=true&timestamps=true&tailLines=1'),
        /^\d{4}-\d\d-\d\dT\S+ line 3\n$/,
      );
    },
  },
  {
    name: 'logs that the kubelet rotates: every line is in exactly one of the files',
    pods: ({ images }) => [
      simplePod(
        'chatty',
        images.app,
        shell(
          `i=0; while [ $i -lt ${chatter} ]; do i=$((i+1)); echo "line $i of a container that says much"; [ $((i % 20)) = 0 ] && sleep 0.1; done; exec sleep 600`,
        ),
      ),
    ],
    run: async (node) => {
      const { metadata } = await node.pods.until('chatty', 'ready', isReady);
      const folder = join(node.folder, 'pod-logs', `shop_chatty-node_${metadata.uid}`, 'main');
      const linesIn = (): number[] =>
        readdirSync(folder)
          // While a file is compressed, both files exist.
          .filter((name, _, all) => !name.endsWith('.tmp') && !all.includes(`${name}.gz`))
          .map((name) => readFileSync(join(folder, name)))
          .map((bytes) => (bytes[0] === 0x1f ? gunzipSync(bytes) : bytes).toString())
          .flatMap((text) => [...text.matchAll(/ line (\d+) of/g)].map((match) => Number(match[1])));
      const whole = (): boolean => {
        try {
          return readdirSync(folder).length > 2 && linesIn().includes(chatter);
        } catch {
          // A file that was compressed just now.
          return false;
        }
      };
      for (let waited = 0; waited < patience(90_000) && !whole(); waited += 250) await pause(250);
      assert.ok(readdirSync(folder).length > 2, 'the kubelet has rotated');
      await pause(1000);
      assert.deepEqual(
        linesIn().sort((a, b) => a - b),
        Array.from({ length: chatter }, (_, index) => index + 1),
      );
    },
  },
  {
    name: 'logs, followed: new lines arrive until the container ends',
    pods: ({ images }) => [
      simplePod('followed', images.app, shell('for i in 1 2 3 4 5 6; do echo step $i; sleep 0.5; done'), {
        restartPolicy: 'Never',
      }),
    ],
    run: async (node) => {
      await node.pods.until(
        'followed',
        'begun',
        (one) => stateOf(one).running !== undefined || stateOf(one).terminated !== undefined,
      );
      const all = 'step 1\nstep 2\nstep 3\nstep 4\nstep 5\nstep 6\n';
      assert.equal(await logOf(node, 'followed', 'main', '?follow=true'), all);
    },
  },
  {
    name: 'exec: output, error output and exit code; standard input to its end',
    pods: ({ images }) => [simplePod('streams', images.app)],
    run: async ({ pods, kubelet }) => {
      await pods.until('streams', 'ready', isReady);
      const said = await openStreams(
        kubelet.server,
        `/exec${target}?${execQuery(['sh', '-c', 'echo out; echo err >&2; exit 3'])}`,
      );
      assert.deepEqual([said.stdout, said.stderr, exitCodeOf(said)], ['out\n', 'err\n', 3]);
      const copied = await openStreams(
        kubelet.server,
        `/exec${target}?${execQuery(['cat'], 'input=1&output=1')}`,
        { stdin: 'through\n' },
      );
      assert.deepEqual([copied.stdout, exitCodeOf(copied)], ['through\n', 0]);
      const terminal = await openStreams(
        kubelet.server,
        `/exec${target}?${execQuery(['tty'], 'input=1&output=1&tty=1')}`,
      );
      assert.match(terminal.stdout, /^\/dev\/pts\/\d+\r\n$/);
    },
  },
  {
    name: 'attach: typed input reaches the first process, and its answer comes back',
    pods: ({ images }) => [
      simplePod('attached', images.app, {
        ...shell('while read -r line; do echo "heard $line"; done; exec sleep 600'),
        stdin: true,
      }),
    ],
    run: async ({ pods, kubelet }) => {
      await pods.until('attached', 'ready', isReady);
      const heard = await openStreams(kubelet.server, '/attach/shop/attached-node/main?input=1&output=1', {
        stdin: 'you\n',
        until: (stdout) => stdout.includes('heard you\n'),
      });
      assert.match(heard.stdout, /heard you\n/);
    },
  },
  {
    name: 'port-forward: a connection reaches a port of the pod, and a port without a listener is reported',
    pods: ({ images }) => [
      simplePod('forwarded', images.app, shell('exec httpd -f -p 127.0.0.1:8080 -h /www')),
    ],
    run: async ({ pods, kubelet }) => {
      await pods.until('forwarded', 'ready', isReady);
      const answer = await throughPortForward(
        kubelet.server,
        'shop/forwarded-node',
        8080,
        'GET /index.html HTTP/1.0\r\n\r\n',
      );
      assert.match(answer, /^HTTP\/1\.\d 200 OK[\s\S]*\r\n\r\na page\n$/);
      await assert.rejects(throughPortForward(kubelet.server, 'shop/forwarded-node', 81, ''), /refused|81/);
    },
  },
];
