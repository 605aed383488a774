/**
 * `npm run test:kube-proxy [-- --seed N] [--steps N] [--services N] [--balancer nftables|ipvs] [--mode
 * nftables|iptables] [--keep DIR]`: compares what clients of the same random Services see of a node with
 * kube-proxy and of a node with our services (README.md). Exit 0: only documented differences · 1: another
 * difference · 4: something is missing.
 */
import '../fixtures/private-namespaces.ts';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { balancers } from '../services/balancers.ts';
import { buildPeers } from '../fixtures/build-peers.ts';
import { runSeed } from './run-seed.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', multiple: true, default: ['1', '2', '3', '4', '5', '6'] },
    steps: { type: 'string', default: '10' },
    services: { type: 'string', default: '6' },
    balancer: { type: 'string', default: 'nftables' },
    mode: { type: 'string', default: 'nftables' },
    keep: { type: 'string' },
  },
});
const { balancer, mode } = values;
if ((balancer !== 'nftables' && balancer !== 'ipvs') || (mode !== 'nftables' && mode !== 'iptables')) {
  console.error('--balancer is nftables or ipvs, and --mode nftables or iptables');
  process.exit(2);
}
const missing = balancers[balancer]?.missing();
if (missing !== undefined) {
  console.error(`skipped: ${balancer}: ${missing}`);
  process.exit(4);
}
if (process.getuid?.() !== 0 || !buildPeers(['kube-proxy'])) {
  console.error('skipped: this suite needs root, and test/peers/get kube-proxy');
  process.exit(4);
}

const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'portcullis-kube-proxy-'));
mkdirSync(folder, { recursive: true });
let failed = 0;
const reasons = new Map<string, number>();
for (const seed of values.seed.map(Number)) {
  const found = await runSeed({
    seed,
    steps: Number(values.steps),
    services: Number(values.services),
    balancer,
    mode,
    folder: join(folder, String(seed)),
  });
  if (found.differences > 0) failed += 1;
  for (const reason of found.reasons) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
}
console.log('\nexpected differences that were seen:');
for (const [reason, seeds] of reasons) console.log(`- with ${seeds} seeds: ${reason}`);
console.log(
  `\n${balancer}: ${values.seed.length - failed} of ${values.seed.length} seeds without a difference`,
);
if (values.keep === undefined) rmSync(folder, { recursive: true });
process.exit(failed > 0 ? 1 : 0);
