import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { createContainer, removePod, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const program = join(import.meta.dirname, '../../packaging/bin/portcullis');

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs the real command. `before` are words that precede it, such as a command for a namespace without links.
 */
function portcullis(args: readonly string[], before: readonly string[] = []): Promise<Ran> {
  const [file = program, ...rest] = [...before, program, ...args];
  return new Promise((resolve) => {
    execFile(file, rest, { maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        stdout,
        stderr,
      });
    });
  });
}

interface Listed {
  readonly seq: number;
  readonly verdict: string;
  readonly outcome: string;
  readonly namespace: string;
}

describe('portcullis verdicts', () => {
  let stage: Stage;
  let root: readonly string[];
  const verdicts = (...args: string[]): Promise<Ran> => portcullis(['verdicts', ...args, ...root]);
  const list = async (...args: string[]): Promise<readonly Listed[]> =>
    JSON.parse((await verdicts('ls', '--output', 'json', ...args)).stdout) as Listed[];
  before(async () => {
    stage = await openStage();
    root = ['--root', stage.folders.root];
    const { reference } = await stage.publish('app/a:1');
    const { reference: unsigned } = await stage.publish(
      'app/u:1',
      { config: { Env: ['A=1'] } },
      { sign: false },
    );
    const image = await stage.pull(reference);
    const pod = await runPod(stage, 'p');
    await createContainer(stage, pod, { image, reference });
    await failureOf(stage.pull(unsigned));
    await failureOf(stage.pull('elsewhere.test/x:1'));
    await removePod(stage, pod);
  });
  after(() => stage.close());

  it('lists, filters and shows while the daemon runs', async () => {
    const all = await list();
    assert.deepEqual([...new Set(all.map(({ outcome }) => outcome))].sort(), ['admit', 'deny']);
    assert.equal((await list('--outcome', 'deny')).length, 2);
    assert.equal((await list('--image', 'elsewhere.test')).length, 1);
    assert.equal((await list('--namespace', 'nobody')).length, 0);
    assert.equal((await list('--since', '1h')).length, all.length);
    assert.equal((await list('--limit', '1')).length, 1);
    const [newest] = all;
    assert.ok(newest);
    const shown = await verdicts('show', newest.verdict.slice(7, 20));
    assert.equal(shown.code, 0);
    assert.match(shown.stdout, /no rule of the policy matches elsewhere\.test/);
    assert.equal((await verdicts('show', String(newest.seq))).stdout, shown.stdout);
    assert.equal((await verdicts('show', 'ffffffffffff')).code, 4);
    assert.equal((await verdicts('ls', '--since', 'yesterday')).code, 2);
    assert.equal((await portcullis(['verdicts', 'ls', '--root', '/nonexistent'])).code, 4);
  });

  it('replays each verdict to the same bytes, also from a file in a network namespace without links', async () => {
    assert.match((await verdicts('replay', '--all')).stdout, /, 0 different, 0 cannot be replayed/);
    const [admitted] = await list('--outcome', 'admit');
    assert.ok(admitted);
    assert.equal((await verdicts('replay', admitted.verdict)).code, 0);
    const file = join(stage.folders.folder, 'verdict.jsonl');
    assert.equal((await verdicts('export', admitted.verdict, '--out', file)).code, 0);
    assert.equal(
      (await verdicts('export', admitted.verdict, '--out', file)).code,
      2,
      'nothing is overwritten',
    );
    const elsewhere = await portcullis(
      ['verdicts', 'replay', '--file', file, '--output', 'json'],
      ['unshare', '--net'],
    );
    assert.equal(elsewhere.code, 0, elsewhere.stderr);
    const { equal, recorded, replayed } = JSON.parse(elsewhere.stdout) as {
      equal: boolean;
      recorded: unknown;
      replayed: unknown;
    };
    assert.ok(equal);
    assert.deepEqual(replayed, recorded);
    // One byte of the evidence changes: the signature is no longer valid, and the bytes differ.
    const text = readFileSync(file, 'utf8');
    const place = text.indexOf('\\"bytes\\":\\"') + 40;
    writeFileSync(file, text.slice(0, place) + (text[place] === 'A' ? 'B' : 'A') + text.slice(place + 1));
    const changed = await portcullis(['verdicts', 'replay', '--file', file]);
    assert.equal(changed.code, 1, changed.stderr);
    assert.match(changed.stdout, /different: recorded admit .* replayed deny/);
  });

  it('verifies against an exported head, and finds one changed byte', async () => {
    await stage.restart();
    const head = join(stage.folders.folder, 'log.head');
    const key = join(stage.folders.root, 'verdict-log.key.pub');
    assert.equal((await verdicts('export', '--head', '--out', head)).code, 0);
    const whole = await verdicts('verify', '--head', head, '--key', key);
    assert.equal(whole.code, 0, whole.stdout + whole.stderr);
    assert.match(whole.stdout, /^intact\n.*rows?, head/);
    const log = join(stage.folders.folder, 'log.jsonl');
    assert.equal((await verdicts('export', '--out', log)).code, 0);
    assert.equal(
      (await portcullis(['verdicts', 'verify', '--file', log, '--head', head, '--key', key])).code,
      0,
    );
    writeFileSync(
      log,
      readFileSync(log, 'utf8').replace('\\"outcome\\":\\"deny\\"', '\\"outcome\\":\\"dent\\"'),
    );
    assert.equal((await portcullis(['verdicts', 'verify', '--file', log, '--head', head])).code, 1);
    await stage.restart({
      meanwhile: () => {
        // A copy of the file of a stopped daemon with one changed byte, and then truncated.
        const copy = join(stage.folders.folder, 'copy.db');
        const changes = [
          `UPDATE verdict_log SET entry = replace(entry, 'elsewhere.test', 'elsewherf.test')`,
          'DELETE FROM verdict_log WHERE seq > 2; DELETE FROM verdict_checkpoint WHERE size > 2',
          `UPDATE dossier SET json = replace(json, 'sigstore', 'sigstorf')`,
        ];
        return changes.reduce<Promise<void>>(async (before, change) => {
          await before;
          copyFileSync(join(stage.folders.root, 'state.db'), copy);
          const db = new DatabaseSync(copy);
          db.exec(
            'DROP TRIGGER verdict_log_no_update; DROP TRIGGER verdict_log_no_delete; DROP TRIGGER verdict_checkpoint_no_delete',
          );
          db.exec(change);
          db.close();
          const found = await portcullis(['verdicts', 'verify', '--database', copy, '--head', head]);
          assert.equal(found.code, 1, found.stdout);
          assert.match(found.stdout, /NOT INTACT/);
        }, Promise.resolve());
      },
    });
  });

  it('is complete after kill -9', async () => {
    for (let round = 0; round < 3; round += 1) {
      const pulls = Array.from({ length: 30 }, (_, index) =>
        failureOf(stage.pull(`elsewhere.test/kill-${round}-${index}:1`)).catch(() => undefined),
      );
      await Promise.race([pulls[5 + round * 7], pulls[29]]);
      await stage.restart({ kill: true });
      await Promise.all(pulls);
      const { code, stdout } = await verdicts('verify');
      assert.equal(code, 0, stdout);
    }
  });
});
