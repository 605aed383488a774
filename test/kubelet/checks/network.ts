import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { httpGet } from '../../../base/connections/index.ts';
import { shell, simplePod } from './check.ts';
import type { Check } from './check.ts';
import { factsOf, printingFacts } from './facts.ts';
import { isReady } from '../node/pods.ts';

const nodeAddress = '10.212.0.2';

function page(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    httpGet({ host: nodeAddress, port, path: '/index.html', timeout: 5000 }, (answer) => {
      let body = '';
      answer.on('data', (chunk: Buffer) => (body += chunk.toString()));
      answer.on('end', () => resolve(body));
    }).on('error', reject);
  });
}

export const networkChecks: readonly Check[] = [
  {
    name: 'hostPort: the port of the node reaches the pod',
    pods: ({ images }) => [
      simplePod('host-port', images.app, {
        ...shell('exec httpd -f -p 8080 -h /www'),
        ports: [{ containerPort: 8080, hostPort: 18080 }],
        readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 60 },
      }),
    ],
    run: async ({ pods }) => {
      await pods.until('host-port', 'ready', isReady);
      assert.equal(await page(18_080), 'a page\n');
    },
  },
  {
    name: 'hostNetwork, hostPID, hostIPC: the namespaces of the node, under a ceiling that grants them',
    pods: ({ images }) => [
      simplePod(
        'host-network',
        images.app,
        printingFacts({
          links: 'ls /sys/class/net',
          ours: `cat /proc/${process.pid}/comm`,
          name: 'hostname',
        }),
        { hostNetwork: true, hostPID: true, hostIPC: true },
      ),
    ],
    run: async (node) => {
      const facts = await factsOf(node, 'host-network');
      assert.match(facts.get('links') ?? '', /kub0/);
      assert.equal(facts.get('ours'), readFileSync('/proc/self/comm', 'utf8').trim());
      assert.equal(facts.get('name'), readFileSync('/proc/sys/kernel/hostname', 'utf8').trim());
    },
  },
  {
    name: 'names: hostname, host aliases, DNS configuration',
    pods: ({ images }) => [
      simplePod(
        'names',
        images.app,
        printingFacts({
          hostname: 'hostname',
          hosts: "awk '/one.example/ {print $1, $2}' /etc/hosts",
          servers: "awk '/^nameserver/ {print $2}' /etc/resolv.conf",
          options: "grep -E '^(search|options)' /etc/resolv.conf",
        }),
        {
          hostname: 'called',
          hostAliases: [{ ip: '192.0.2.7', hostnames: ['one.example'] }],
          dnsPolicy: 'None',
          dnsConfig: {
            nameservers: ['192.0.2.1'],
            searches: ['example.com'],
            options: [{ name: 'ndots', value: '3' }],
          },
        },
      ),
    ],
    run: async (node) => {
      const facts = await factsOf(node, 'names');
      assert.equal(facts.get('hostname'), 'called');
      assert.equal(facts.get('hosts'), '192.0.2.7 one.example');
      assert.equal(facts.get('servers'), '192.0.2.1');
      assert.match(facts.get('options') ?? '', /search example\.com/);
      assert.match(facts.get('options') ?? '', /options ndots:3/);
    },
  },
];
