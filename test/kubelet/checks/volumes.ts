import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { shell } from './check.ts';
import type { Check } from './check.ts';
import { factsOf, logOf, printingFacts } from './facts.ts';
import { isReady } from '../node/pods.ts';

/** Volumes that need no API server. */
export const volumeChecks: readonly Check[] = [
  {
    name: 'volumes: emptyDir on disk and in memory, shared by the containers of a pod; the downward API',
    pods: ({ images }) => [
      {
        name: 'volumes',
        annotations: { 'example.com/note': 'projected' },
        spec: {
          volumes: [
            { name: 'disk', emptyDir: {} },
            { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
            {
              name: 'facts',
              downwardAPI: {
                items: [
                  { path: 'note', fieldRef: { fieldPath: "metadata.annotations['example.com/note']" } },
                ],
              },
            },
          ],
          containers: [
            {
              name: 'writer',
              image: images.app,
              ...shell(
                'echo shared > /disk/file; mkdir -p /disk/sub; echo deep > /disk/sub/file; exec sleep 600',
              ),
              volumeMounts: [{ name: 'disk', mountPath: '/disk' }],
            },
            {
              name: 'main',
              image: images.app,
              ...printingFacts({
                shared: 'until test -e /disk/sub/file; do sleep 0.2; done; cat /disk/file',
                memory: 'awk \'$2=="/memory" {print $3}\' /proc/mounts',
                size: "df -k /memory | awk 'END {print $2}'",
                note: 'cat /facts/note',
                readonly: 'touch /facts/x',
                address: 'echo $ADDRESS',
              }),
              env: [{ name: 'ADDRESS', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
              volumeMounts: [
                { name: 'disk', mountPath: '/disk' },
                { name: 'memory', mountPath: '/memory' },
                { name: 'facts', mountPath: '/facts', readOnly: true },
              ],
            },
          ],
        },
      },
    ],
    run: async (node) => {
      const facts = await factsOf(node, 'volumes');
      assert.equal(facts.get('shared'), 'shared');
      assert.equal(facts.get('memory'), 'tmpfs');
      assert.equal(facts.get('size'), '8192');
      assert.equal(facts.get('note'), 'projected');
      assert.match(facts.get('readonly') ?? '', /Read-only file system/);
      assert.match(facts.get('address') ?? '', /^10\.211\./);
    },
  },
  {
    name: 'volumes: hostPath as folder, file and sub-path; read-only is enforced',
    pods: ({ images, folder }) => {
      const shared = join(folder, 'host-path');
      mkdirSync(join(shared, 'sub'), { recursive: true });
      writeFileSync(join(shared, 'file'), 'of the host\n');
      writeFileSync(join(shared, 'sub/file'), 'below\n');
      return [
        {
          name: 'host-path',
          spec: {
            volumes: [
              { name: 'folder', hostPath: { path: shared, type: 'Directory' } },
              { name: 'file', hostPath: { path: join(shared, 'file'), type: 'File' } },
            ],
            containers: [
              {
                name: 'main',
                image: images.app,
                ...printingFacts({
                  file: 'cat /one',
                  below: 'cat /sub/file',
                  refused: 'touch /ro/x',
                  wrote: 'echo here > /rw/written && echo yes',
                }),
                volumeMounts: [
                  { name: 'folder', mountPath: '/rw' },
                  { name: 'folder', mountPath: '/ro', readOnly: true },
                  { name: 'folder', mountPath: '/sub', subPath: 'sub' },
                  { name: 'file', mountPath: '/one' },
                ],
              },
            ],
          },
        },
      ];
    },
    run: async (node) => {
      const facts = await factsOf(node, 'host-path');
      assert.deepEqual(
        [facts.get('file'), facts.get('below'), facts.get('wrote')],
        ['of the host', 'below', 'yes'],
      );
      assert.match(facts.get('refused') ?? '', /Read-only file system/);
      assert.equal(readFileSync(join(node.folder, 'host-path/written'), 'utf8'), 'here\n');
    },
  },
  {
    name: 'volumes: a signed image as a volume, whole and by sub-path; an unsigned one is refused',
    pods: ({ images }) => [
      {
        name: 'image-volume',
        spec: {
          volumes: [{ name: 'data', image: { reference: images.data } }],
          containers: [
            {
              name: 'main',
              image: images.app,
              ...printingFacts({
                page: 'cat /data/folder/page',
                part: 'cat /part/page',
                refused: 'touch /data/x',
              }),
              volumeMounts: [
                { name: 'data', mountPath: '/data' },
                { name: 'data', mountPath: '/part', subPath: 'folder' },
              ],
            },
          ],
        },
      },
      {
        name: 'image-volume-unsigned',
        spec: {
          volumes: [{ name: 'data', image: { reference: images.unsigned } }],
          containers: [
            { name: 'main', image: images.app, volumeMounts: [{ name: 'data', mountPath: '/data' }] },
          ],
        },
      },
    ],
    run: async (node) => {
      const facts = await factsOf(node, 'image-volume');
      assert.deepEqual([facts.get('page'), facts.get('part')], ['a page of data', 'a page of data']);
      assert.match(facts.get('refused') ?? '', /Read-only file system/);
      const pod = await node.pods.until('image-volume-unsigned', 'refused', (one) =>
        (one.status.containerStatuses ?? []).some((status) =>
          /SignatureValidationFailed/.test(JSON.stringify(status.state.waiting ?? {})),
        ),
      );
      assert.equal(pod.status.phase, 'Pending');
    },
  },
  {
    name: 'volumes: mounts created in a pod reach the host and other pods that request this (Bidirectional, HostToContainer)',
    pods: ({ images, folder }) => {
      const path = join(folder, 'propagation');
      mkdirSync(join(path, 'inner'), { recursive: true });
      const volumes = [{ name: 'shared', hostPath: { path } }];
      const mounted = (mountPropagation: string) => [
        { name: 'shared', mountPath: '/shared', mountPropagation },
      ];
      return [
        {
          name: 'propagates',
          spec: {
            volumes,
            containers: [
              {
                name: 'main',
                image: images.app,
                ...shell(
                  "trap 'umount /shared/inner; exit 0' TERM; mount -t tmpfs inner /shared/inner && echo seen > /shared/inner/file; while :; do sleep 0.2; done",
                ),
                securityContext: { privileged: true },
                volumeMounts: mounted('Bidirectional'),
              },
            ],
          },
        },
        {
          name: 'sees',
          spec: {
            volumes,
            containers: [
              {
                name: 'main',
                image: images.app,
                ...shell(
                  'until cat /shared/inner/file; do sleep 0.3; done 2>/dev/null; echo done; exec sleep 600',
                ),
                volumeMounts: mounted('HostToContainer'),
              },
            ],
          },
        },
      ];
    },
    run: async (node) => {
      await node.pods.until('propagates', 'ready', isReady);
      await factsOf(node, 'sees');
      assert.match(await logOf(node, 'sees'), /^seen$/m);
      assert.equal(readFileSync(join(node.folder, 'propagation/inner/file'), 'utf8'), 'seen\n');
    },
  },
];
