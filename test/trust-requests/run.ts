import { parseArgs } from 'node:util';
import { runCampaign } from './campaign.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
  },
});
const [requests, seed, from] = [Number(values.requests), Number(values.seed), Number(values.from)];
for (const tokens of [false, true]) {
  const { statuses, milliseconds } = await runCampaign({ requests, seed, from, tokens });
  const counts = [...statuses]
    .sort(([a], [b]) => String(a).localeCompare(String(b)))
    .map(([status, count]) => `${status}: ${count}`);
  console.log(
    `${requests} random requests ${tokens ? 'with' : 'without'} tokens, seed ${seed}: 0 exits, each request of valid HTTP got a status, ` +
      `${(milliseconds / 1000).toFixed(1)} s (${counts.join(', ')})`,
  );
}
