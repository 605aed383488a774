import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { shell, simplePod } from './check.ts';
import type { Check } from './check.ts';
import { factsOf, printingFacts } from './facts.ts';
import { isReady, stateOf } from '../node/pods.ts';
import type { PodStatus } from '../node/pods.ts';

const field = (name: string): string => `awk '/^${name}:/ {print $2}' /proc/self/status`;

export const securityChecks: readonly Check[] = [
  {
    name: 'security context: user, groups, fsGroup, read-only root, capabilities, seccomp, no new privileges',
    pods: ({ images }) => [
      simplePod(
        'confined',
        images.app,
        {
          ...printingFacts({
            id: '{ id -u; id -g; }',
            groups: field('Groups').replace('$2', '$0'),
            root: 'touch /x',
            volume: 'touch /data/x && stat -c %g /data/x',
            bounding: field('CapBnd'),
            effective: field('CapEff'),
            seccomp: field('Seccomp'),
            gain: field('NoNewPrivs'),
          }),
          securityContext: {
            readOnlyRootFilesystem: true,
            allowPrivilegeEscalation: false,
            capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
            seccompProfile: { type: 'RuntimeDefault' },
          },
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        },
        {
          securityContext: {
            runAsUser: 1000,
            runAsGroup: 2000,
            supplementalGroups: [4000],
            fsGroup: 3000,
            runAsNonRoot: true,
          },
          volumes: [{ name: 'data', emptyDir: {} }],
        },
      ),
    ],
    run: async (node) => {
      const facts = await factsOf(node, 'confined');
      assert.equal(facts.get('id'), '1000 2000');
      assert.match(facts.get('groups') ?? '', /\b3000\b.*\b4000\b/);
      assert.match(facts.get('root') ?? '', /Read-only file system/);
      assert.equal(facts.get('volume'), '3000');
      assert.equal(facts.get('bounding'), '0000000000000400');
      assert.equal(facts.get('effective'), '0000000000000000');
      assert.deepEqual([facts.get('seccomp'), facts.get('gain')], ['2', '1']);
    },
  },
  {
    name: 'security context: safe sysctls of the pod, and its processes shared on request',
    pods: ({ images }) => [
      {
        name: 'shares-pids',
        spec: {
          shareProcessNamespace: true,
          securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '1024' }] },
          containers: [
            { name: 'other', image: images.app, command: ['sleep', '601'] },
            {
              name: 'main',
              image: images.app,
              ...printingFacts({
                start: 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
                other: "until ps | grep -q '[s]leep 601'; do sleep 0.2; done; echo seen",
              }),
            },
          ],
        },
      },
    ],
    run: async (node) => {
      const facts = await factsOf(node, 'shares-pids');
      assert.deepEqual([facts.get('start'), facts.get('other')], ['1024', 'seen']);
    },
  },
  {
    name: 'a user namespace of the pod (hostUsers: false): root in it is an unprivileged user on the host',
    pods: ({ images }) => [
      simplePod(
        'own-users',
        images.app,
        printingFacts({ id: 'id -u', map: "awk '{print $1, ($2 > 0), $3}' /proc/self/uid_map" }),
        {
          hostUsers: false,
        },
      ),
    ],
    skip: ({ features }) =>
      features.userNamespaces
        ? undefined
        : 'no runtime handler here has user namespaces with idmapped mounts',
    run: async (node) => {
      const facts = await factsOf(node, 'own-users');
      assert.deepEqual([facts.get('id'), facts.get('map')], ['0', '0 1 65536']);
    },
  },
  {
    name: 'kube-system: a privileged agent on the host network runs under the shipped example policy',
    pods: ({ images }) => [
      {
        name: 'node-agent',
        namespace: 'kube-system',
        spec: {
          hostNetwork: true,
          hostPID: true,
          priorityClassName: 'system-node-critical',
          tolerations: [{ operator: 'Exists' }],
          volumes: [{ name: 'modules', hostPath: { path: '/lib/modules', type: 'DirectoryOrCreate' } }],
          containers: [
            {
              name: 'main',
              image: images.agent,
              ...shell('mount -t tmpfs t /mnt 2>/dev/null || mount -t tmpfs t /tmp; exec sleep 600'),
              securityContext: { privileged: true },
              volumeMounts: [{ name: 'modules', mountPath: '/lib/modules', readOnly: true }],
            },
          ],
        },
      },
    ],
    run: async ({ pods }) => void (await pods.until('node-agent', 'ready', isReady)),
  },
  {
    name: 'kube-system: a static pod of the control plane runs on the host network with paths of the host, and never privileged',
    pods: ({ images, folder }) => {
      const etcd = (name: string, more: object) => ({
        name,
        namespace: 'kube-system',
        spec: {
          hostNetwork: true,
          priorityClassName: 'system-node-critical',
          volumes: [{ name: 'data', hostPath: { path: join(folder, 'etcd'), type: 'DirectoryOrCreate' } }],
          containers: [
            {
              name: 'main',
              image: images.etcd,
              ...shell('echo kept > /var/lib/etcd/member; exec sleep 600'),
              volumeMounts: [{ name: 'data', mountPath: '/var/lib/etcd' }],
              ...more,
            },
          ],
        },
      });
      return [etcd('etcd', {}), etcd('etcd-privileged', { securityContext: { privileged: true } })];
    },
    run: async ({ pods, folder }) => {
      await pods.until('etcd', 'ready', isReady);
      assert.equal(readFileSync(join(folder, 'etcd/member'), 'utf8'), 'kept\n');
      const refused = await pods.until('etcd-privileged', 'refused', (one) =>
        /ceiling/.test(stateOf(one).waiting?.message ?? ''),
      );
      assert.match(stateOf(refused).waiting?.message ?? '', /ceiling control-plane/);
    },
  },
  {
    name: 'the same agent outside kube-system is refused, and so are privileges beyond a ceiling: the pod status names the rule and the missing permission',
    pods: ({ images }) => [
      simplePod('agent-elsewhere', images.agent),
      simplePod('too-privileged', images.narrow, { securityContext: { privileged: true } }),
    ],
    run: async ({ pods }) => {
      // The reason comes from the pull. If the image already exists for kube-system, it is not pulled, and
      // the container is refused.
      const said = (one: PodStatus): string =>
        `${stateOf(one).waiting?.reason ?? ''}: ${stateOf(one).waiting?.message ?? ''}`;
      const elsewhere = await pods.until('agent-elsewhere', 'refused', (one) =>
        said(one).includes('SignatureValidationFailed: '),
      );
      assert.match(said(elsewhere), /rule/);
      const privileged = await pods.until('too-privileged', 'refused', (one) =>
        /ceiling/.test(stateOf(one).waiting?.message ?? ''),
      );
      assert.match(stateOf(privileged).waiting?.message ?? '', /ceiling baseline lacks.*privileged/);
    },
  },
  {
    name: 'an unsigned image stays in SignatureValidationFailed, with the reason in the pod status',
    pods: ({ images }) => [simplePod('unsigned', images.unsigned)],
    run: async ({ pods }) => {
      const pod = await pods.until(
        'unsigned',
        'refused',
        (one) => stateOf(one).waiting?.reason === 'SignatureValidationFailed',
      );
      assert.match(stateOf(pod).waiting?.message ?? '', /signature/i);
      assert.equal(pod.status.phase, 'Pending');
    },
  },
];
