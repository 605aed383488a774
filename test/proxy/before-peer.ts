import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { mirroredHosts, registryHost, servedImages, signServedImages } from '../conformance/endpoint.ts';
import { startCriProxy } from '../fixtures/cri-proxy.ts';
import type { TestProxy } from '../fixtures/cri-proxy.ts';

export interface ProxiedPeer {
  readonly folder: string;
  readonly proxy: TestProxy;
  /** The policy of the proxy: it requires a signature for each image. */
  readonly policyFile: string;
  readonly images: readonly { readonly name: string; readonly digest: string }[];
  close(): Promise<void>;
}

/**
 * Signs the images of a peer's registry and starts the proxy before the peer. Runs in the namespaces of the
 * peer.
 * @param backend the socket of the peer, in the folder of its state
 */
export async function proxyBefore(backend: string): Promise<ProxiedPeer> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-proxy-'));
  const images = servedImages(readFileSync(join(dirname(backend), 'images.log'), 'utf8').split('\n'));
  const policies = await signServedImages(folder, images);
  const mirrors = mirroredHosts.flatMap((host) => ['--registry-mirror', `${host}=http://${registryHost}`]);
  const proxy = await startCriProxy(folder, backend, policies, mirrors);
  return {
    ...{ folder, proxy, images, policyFile: join(policies, 'policy.yaml') },
    async close() {
      await proxy.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
