import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../conformance/endpoint.ts';
import type { Judged } from './judged.ts';
import type { Stage } from './stage.ts';

const scripts = { containerd: 'run-containerd', crio: 'run-crio' } as const;
/**
 * CRI-O forwards host ports itself and passes none to its plugins (`PortMappings:[]`); with nftables it does
 * not forward from 127.0.0.1, which this spec requires.
 */
const skipped = {
  containerd: 'public image with digest',
  crio: 'public image with digest|host port and container port',
} as const;

/** Tests a CRI runtime of test/peers with critest. @param focus a filter of its specs */
export function byCritest(runtime: keyof typeof scripts, stage: Stage, focus: string): Judged {
  const home = stage.at(runtime);
  const conflist = stage.network('testnet', 'cni0', '10.88.0.0/16');
  const run = (args: readonly string[], timeout: number): number => {
    const env = { ...process.env, CNI_BIN: stage.binDir, CNI_CONFLIST: conflist, D: home };
    return (
      spawnSync(join(repository, 'test/peers', scripts[runtime]), args, {
        env,
        stdio: ['ignore', 'inherit', 'inherit'],
        timeout,
      }).status ?? 1
    );
  };
  return {
    start() {
      if (run(['start'], 120_000) !== 0) throw new Error(`${runtime} does not start`);
    },
    judge() {
      const endpoint = `unix://${join(home, `${runtime}.sock`)}`;
      const critest = ['critest', '-runtime-endpoint', endpoint, '-report-dir', stage.at('report')];
      const only = ['-ginkgo.focus', focus, '-ginkgo.skip', skipped[runtime], '-ginkgo.no-color'];
      const passed = run(['exec', ...critest, ...only], 900_000) === 0;
      const pid = readFileSync(join(home, 'pid'), 'utf8').trim();
      const left = spawnSync('nsenter', ['-t', pid, '-n', 'ip', '-br', 'link', 'show', 'type', 'veth'], {
        encoding: 'utf8',
      }).stdout.trim();
      return { passed, left };
    },
    stop: () => void run(['stop'], 120_000),
  };
}
