import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { patience } from '../fixtures/daemon.ts';
import { createContainer, removePod, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const program = join(import.meta.dirname, '../../packaging/bin/portcullis');
const folder = mkdtempSync(join(tmpdir(), 'pc-fleet-'));
process.once('exit', () => rmSync(folder, { recursive: true }));
const port = 20_000 + (process.pid % 10_000);
const url = `http://127.0.0.1:${port}`;

interface Row {
  readonly seq: number;
  readonly entry: string;
  readonly evidence: string;
  readonly hash: string;
}

const ask = async <T>(path: string): Promise<T> => (await (await fetch(`${url}/v1/${path}`)).json()) as T;

async function eventually<T>(probe: () => Promise<T | undefined>): Promise<T> {
  for (const end = performance.now() + patience; performance.now() < end; await pause(50)) {
    const found = await probe().catch(() => undefined);
    if (found !== undefined) return found;
  }
  return assert.fail('the condition was not met in time');
}

describe('a daemon and its aggregator', () => {
  let stage: Stage;
  let aggregator: ChildProcess;

  async function serve(): Promise<void> {
    const args = ['fleet', 'serve', '--listen', `127.0.0.1:${port}`, '--data', join(folder, 'data')];
    aggregator = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(aggregator.stdout!, 'data');
  }
  async function kill(): Promise<void> {
    const ended = once(aggregator, 'exit');
    aggregator.kill('SIGKILL');
    await ended;
  }
  const logOfDaemon = (): readonly Row[] => {
    const database = new DatabaseSync(join(stage.folders.root, 'state.db'), { readOnly: true });
    try {
      const rows = database.prepare('SELECT seq, entry, evidence, hash FROM verdict_log ORDER BY seq').all();
      return rows.map((row) => ({ ...row }) as unknown as Row);
    } finally {
      database.close();
    }
  };
  /** Waits until the aggregator has the whole log of the daemon. */
  const caughtUp = (): Promise<readonly Row[]> =>
    eventually(async () => {
      const { rows } = await ask<{ rows: readonly Row[] }>('nodes/edge-1/log?most=1000');
      return rows.length === logOfDaemon().length ? rows : undefined;
    });

  before(async () => {
    await serve();
    const config = join(folder, 'config.yaml');
    writeFileSync(config, `fleet: { endpoint: "${url}", node: edge-1, labels: { zone: north } }\n`);
    stage = await openStage({ flags: ['--config', config] });
  });
  after(async () => {
    await kill();
    await stage.close();
  });

  it('the aggregator shows why an image was refused, and which containers run', async () => {
    const { reference } = await stage.publish('app/a:1');
    const { reference: unsigned } = await stage.publish(
      'app/u:1',
      { config: { Env: ['A=1'] } },
      { sign: false },
    );
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'p');
    const container = await createContainer(stage, pod, { image, reference, command: ['sleep', '600'] });
    await stage.daemon.cri.runtime.startContainer({ containerId: container });
    await failureOf(stage.pull(unsigned));
    await caughtUp();
    const { verdicts } = await ask<{ verdicts: { verdict: string; reference: string; node: string }[] }>(
      'verdicts?outcome=deny',
    );
    assert.deepEqual(
      verdicts.map(({ node, reference: of }) => [node, of]),
      [['edge-1', unsigned]],
    );
    const { text } = await ask<{ text: { outcome: string; reasons: { children?: object[] } } }>(
      `verdicts/${verdicts[0]?.verdict}`,
    );
    assert.equal(text.outcome, 'deny');
    assert.ok((text.reasons.children ?? []).length > 0);
    const running = await eventually(async () => {
      const { images } = await ask<{ images: { reference: string; containers: number }[] }>('images');
      return images.length === 0 ? undefined : images;
    });
    assert.deepEqual(
      running.map(({ reference: of, containers }) => [of, containers]),
      [[reference, 1]],
    );
    const { nodes } = await ask<{ nodes: { name: string; labels: object; enforcement: string }[] }>('nodes');
    assert.deepEqual(nodes[0]?.labels, { zone: 'north' });
    await removePod(stage, pod);
  });

  it('the aggregator has the text of the policy that is in force on the daemon', async () => {
    const { policies } = await ask<{ policies: { revision: string; nodes: string[]; received?: string }[] }>(
      'policies',
    );
    assert.deepEqual(
      policies.map(({ nodes, received }) => [nodes, received !== undefined]),
      [[['edge-1'], true]],
    );
    const { files } = await ask<{ files: { text: string }[] }>(`policies/${policies[0]?.revision}`);
    assert.ok(files.some(({ text }) => /kind: TrustPolicy/u.test(text)));
  });

  it('no row is lost or duplicated when the aggregator or the daemon is killed', async () => {
    await kill();
    const { reference } = await stage.publish('app/b:1', { config: { Env: ['B=1'] } });
    await stage.pull(reference);
    await stage.restart({ kill: true, flags: ['--config', join(folder, 'config.yaml')] });
    await serve();
    assert.deepEqual(await caughtUp(), logOfDaemon());
    const { alerts } = await ask<{ alerts: { code: string }[] }>('alerts');
    assert.deepEqual(
      alerts.filter(({ code }) => code.startsWith('LOG_')),
      [],
    );
  });
});
