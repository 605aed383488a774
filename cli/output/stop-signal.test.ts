import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';

/** A process that reports its first signal, and then needs ten seconds to end. */
const program = `
  import { untilStopSignal } from ${JSON.stringify(new URL('./stop-signal.ts', import.meta.url).href)};
  setTimeout(() => undefined, 10_000);
  const stop = untilStopSignal(() => process.stdout.write('asked '));
  process.stdout.write('ready ');
  await stop;
  process.stdout.write('stopping ');
`;

async function start(): Promise<{ child: ReturnType<typeof spawn>; until: (text: string) => Promise<void> }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const until = async (text: string): Promise<void> => {
    while (output !== text) await once(child.stdout, 'data');
  };
  await until('ready ');
  return { child, until };
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`reports ${signal} and lets the command stop`, async () => {
    const { child, until } = await start();
    child.kill(signal);
    await until('ready asked stopping ');
    child.kill('SIGKILL');
    await once(child, 'close');
  });
}

test('ends at a second signal, as failed', async () => {
  const { child, until } = await start();
  child.kill('SIGTERM');
  await until('ready asked stopping ');
  child.kill('SIGINT');
  const [code] = (await once(child, 'close')) as [number | null];
  assert.equal(code, 4);
});
