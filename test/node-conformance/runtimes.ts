import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { daemonFolders, startDaemon } from '../fixtures/daemon.ts';
import { policyOf, mountsBelow } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { startContainerd } from './containerd.ts';
import type { NodeRuntime } from './containerd.ts';
import { handlerName, mirroredHost, policyRules } from './names.ts';
import type { RuntimeName } from './names.ts';

const conflist = {
  cniVersion: '1.0.0',
  name: 'node-conformance',
  plugins: [
    {
      type: 'bridge',
      bridge: 'node0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.213.0.0/16' }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
    { type: 'portmap', capabilities: { portMappings: true }, snat: true },
  ],
};

/** Flags of the daemon for the second runtime handler. */
export const secondHandler = (): readonly string[] => [
  '--runtime',
  `${handlerName}=${findTool('crun').path}`,
];

/** Starts a runtime. Its files are below `folder`, where `policy/k.pub` is the key that signed the images. */
export async function startRuntime(
  name: RuntimeName,
  folder: string,
  registry: string,
): Promise<NodeRuntime> {
  const folders = daemonFolders(folder);
  mkdirSync(folders.cniConf, { recursive: true });
  writeFileSync(join(folders.cniConf, '10-node.conflist'), JSON.stringify(conflist));
  if (name === 'containerd') return startContainerd(folder, { registry, cniConf: folders.cniConf });
  writeFileSync(join(folders.policy, 'policy.yaml'), policyOf(policyRules));
  const daemon = await startDaemon(folders, [
    ...['--cgroup-driver', 'cgroupfs', '--registry-mirror', `${mirroredHost}=${registry}`],
    ...secondHandler(),
  ]);
  return {
    socket: folders.socket,
    isAlive: daemon.isAlive,
    async close() {
      for (const { id } of (await daemon.cri.runtime.listPodSandbox({})).items)
        await daemon.cri.runtime.removePodSandbox({ podSandboxId: id });
      const code = await daemon.stop();
      if (code !== 0) throw new Error(`the daemon ended with ${String(code)}`);
      const left = mountsBelow(folders.root).concat(mountsBelow(folders.state));
      if (left.length > 0) throw new Error(`the daemon left mounts: ${left.join(', ')}`);
    },
  };
}
