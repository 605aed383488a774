import { readFileSync } from 'node:fs';
import { layerOf } from '../fixtures/image.ts';
import type { Publisher } from '../fixtures/publisher.ts';
import { findTool } from '../fixtures/tools.ts';

/** Pushes the images of the aggregated API server that a spec starts, and signs them. */
export async function publishAggregatedServer({ publish }: Publisher): Promise<void> {
  const image = async (name: string, tool: string, path: string): Promise<void> => {
    await publish(name, {
      base: false,
      layers: [
        await layerOf([
          // Both programs write there.
          { name: 'tmp/', type: 'directory', mode: 0o1777 },
          { name: path, mode: 0o755, body: readFileSync(findTool(tool).path) },
        ]),
      ],
      config: { Cmd: undefined, Entrypoint: [`/${path}`] },
    });
  };
  await image('e2e-test-images/sample-apiserver:1.29.2', 'sample-apiserver', 'sample-apiserver');
  await image('etcd:3.6.8-0', 'etcd', 'usr/local/bin/etcd');
}
