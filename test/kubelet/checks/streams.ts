import assert from 'node:assert/strict';
import { shell, simplePod } from '../check.ts';
import type { Check } from '../check.ts';
import { logOf } from '../facts.ts';
import { isReady, stateOf } from '../pods.ts';
import { throughPortForward } from '../port-forward.ts';
import { execQuery, exitCodeOf, openStreams } from '../streams.ts';

const target = '/shop/streams-node/main';

/** Through the kubelet's own server, :10250. */
export const streamChecks: readonly Check[] = [
  {
    name: 'logs: whole, the last lines, with times, of the previous container',
    pods: ({ images }) => {
      // It fails once: a kubelet keeps only the last of those that failed.
      const main = {
        ...shell('for i in 1 2 3; do echo line $i; done; test -e /kept/marker && exec sleep 600; touch /kept/marker; exit 1'),
        volumeMounts: [{ name: 'kept', mountPath: '/kept' }],
      };
      return [simplePod('logs', images.app, main, { volumes: [{ name: 'kept', emptyDir: {} }] })];
    },
    run: async (node) => {
      await node.pods.until('logs', 'restarted', (one) => stateOf(one).restarts === 1 && stateOf(one).running !== undefined);
      assert.equal(await logOf(node, 'logs'), 'line 1\nline 2\nline 3\n');
      assert.match(await logOf(node, 'logs', 'main', '?previous=true'), /^line 1\nline 2\nline 3\n$/);
      assert.equal(await logOf(node, 'logs', 'main', '?previous=true&tailLines=1'), 'line 3\n');
      assert.match(await logOf(node, 'logs', 'main', '?previous=true&timestamps=true&tailLines=1'), /^\d{4}-\d\d-\d\dT\S+ line 3\n$/);
    },
  },
  {
    name: 'exec: output, error output and exit code; standard input to its end',
    pods: ({ images }) => [simplePod('streams', images.app)],
    run: async ({ pods, kubelet }) => {
      await pods.until('streams', 'ready', isReady);
      const said = await openStreams(kubelet.server, `/exec${target}?${execQuery(['sh', '-c', 'echo out; echo err >&2; exit 3'])}`);
      assert.deepEqual([said.stdout, said.stderr, exitCodeOf(said)], ['out\n', 'err\n', 3]);
      const copied = await openStreams(kubelet.server, `/exec${target}?${execQuery(['cat'], 'input=1&output=1')}`, { stdin: 'through\n' });
      assert.deepEqual([copied.stdout, exitCodeOf(copied)], ['through\n', 0]);
      const terminal = await openStreams(kubelet.server, `/exec${target}?${execQuery(['tty'], 'input=1&output=1&tty=1')}`);
      assert.match(terminal.stdout, /^\/dev\/pts\/\d+\r\n$/);
    },
  },
  {
    name: 'attach: what is typed reaches the first process, and its answer comes back',
    pods: ({ images }) => [
      simplePod('attached', images.app, { ...shell('while read -r line; do echo "heard $line"; done; exec sleep 600'), stdin: true }),
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
    name: 'port-forward: a connection reaches a port of the pod, and a port where nobody listens is told',
    pods: ({ images }) => [simplePod('forwarded', images.app, shell('exec httpd -f -p 127.0.0.1:8080 -h /www'))],
    run: async ({ pods, kubelet }) => {
      await pods.until('forwarded', 'ready', isReady);
      const answer = await throughPortForward(kubelet.server, 'shop/forwarded-node', 8080, 'GET /index.html HTTP/1.0\r\n\r\n');
      assert.match(answer, /^HTTP\/1\.\d 200 OK[\s\S]*\r\n\r\na page\n$/);
      await assert.rejects(throughPortForward(kubelet.server, 'shop/forwarded-node', 81, ''), /refused|81/);
    },
  },
];
