import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { PortcullisError } from '../errors/index.ts';
import { createLogger, withLogFields } from './index.ts';
import type { LogLevel, Logger } from './index.ts';

function logged(write: (logger: Logger) => void, level: LogLevel = 'debug'): Record<string, unknown>[] {
  const lines: string[] = [];
  write(createLogger({ level, stream: { write: (line: string) => void lines.push(line) } }));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('a log', () => {
  it('has one JSON object per line, with an ISO time and without host or pid', () => {
    const [line, ...rest] = logged((logger) => logger.info({ pod: 'web' }, 'started\nup'));
    assert.deepEqual(rest, []);
    assert.deepEqual(Object.keys(line ?? {}), ['level', 'time', 'pod', 'msg']);
    assert.match(String(line?.['time']), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.equal(line?.['msg'], 'started\nup');
  });

  it('has the fields of the scope in which it is called, across awaits, and of no other scope', async () => {
    const lines: string[] = [];
    const logger = createLogger({
      level: 'info',
      stream: { write: (line: string) => void lines.push(line) },
    });
    const call = (request: string) =>
      withLogFields({ request, step: 0 }, async () => {
        logger.info({ step: 1 }, 'a');
        await Promise.resolve();
        withLogFields({ part: 'p' }, () => logger.info({}, 'b'));
        logger.child({ pod: 'web' }).info({}, 'c');
      });
    await Promise.all([call('x'), call('y')]);
    logger.info({}, 'outside');
    const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    for (const request of ['x', 'y']) {
      const [a, b, c] = parsed.filter((line) => line['request'] === request);
      assert.deepEqual(
        [a?.['step'], b?.['part'], b?.['step'], c?.['pod'], c?.['part']],
        [1, 'p', 0, 'web', undefined],
      );
    }
    assert.equal(parsed.at(-1)?.['request'], undefined);
  });

  it('omits lines below its level', () => {
    const all = (logger: Logger): void => {
      logger.debug({}, 'd');
      logger.info({}, 'i');
      logger.warn({}, 'w');
      logger.error({}, 'e');
    };
    assert.deepEqual(
      logged(all, 'warn').map((line) => line['msg']),
      ['w', 'e'],
    );
    assert.deepEqual(logged(all, 'silent'), []);
  });

  it('has the bindings of a child', () => {
    const [line] = logged((logger) => logger.child({ sandbox: 'abc' }).info({ step: 1 }, 'x'));
    assert.partialDeepStrictEqual(line, { sandbox: 'abc', step: 1 });
  });

  it('never writes a secret, in a field, below it, or in a child', () => {
    const secret = 'hunter2';
    const lines = logged((logger) => {
      for (const name of [
        'password',
        'auth',
        'authorization',
        'Authorization',
        'identityToken',
        'registry_token',
        'token',
        'privateKey',
        'passphrase',
        'credentials',
      ]) {
        logger.info({ [name]: secret, request: { [name]: secret, headers: { [name]: secret } } }, 'x');
        logger.child({ [name]: secret }).info({}, 'x');
      }
      logger.info({ credentials: { username: 'u', password: secret } }, 'x');
    });
    assert.ok(lines.length > 10);
    assert.ok(
      !JSON.stringify(lines).includes(secret),
      JSON.stringify(lines.find((line) => JSON.stringify(line).includes(secret))),
    );
  });

  it('shows a failure by its parts', () => {
    const failure = {
      code: 'A_B',
      kind: 'internal',
      attempted: 'try',
      on: 'x',
      why: 'no',
      fix: 'wait',
      details: { rule: 1 },
      cause: new Error('inner'),
    } as const;
    const [line] = logged((logger) => logger.error({ err: new PortcullisError(failure) }, 'failed'));
    assert.partialDeepStrictEqual(line, {
      err: { code: 'A_B', kind: 'internal', failure: { details: { rule: 1 } } },
    });
  });

  it('gives the journal of systemd the priority of each line, and no other standard error', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-journal-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const program = `
      import { createLogger } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      const logger = createLogger({ level: 'debug' });
      logger.debug({}, 'd');
      logger.child({ pod: 'web' }).info({}, 'i');
      logger.warn({}, 'w');
      logger.error({}, 'e');`;
    const written = (name: string, isJournal: boolean): string => {
      const file = openSync(join(folder, name), 'w+');
      const { dev, ino } = fstatSync(file, { bigint: true });
      const { status } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
        env: { ...process.env, JOURNAL_STREAM: isJournal ? `${dev}:${ino}` : `${dev}:${ino + 1n}` },
        stdio: ['ignore', 'ignore', file],
      });
      closeSync(file);
      assert.equal(status, 0);
      return readFileSync(join(folder, name), 'utf8').replaceAll(/"time":"[^"]*",/gu, '');
    };
    const plain = [
      '{"level":20,"msg":"d"}',
      '{"level":30,"pod":"web","msg":"i"}',
      '{"level":40,"msg":"w"}',
      '{"level":50,"msg":"e"}',
    ];
    assert.deepEqual(written('file', false).trimEnd().split('\n'), plain);
    assert.deepEqual(
      written('journal', true).trimEnd().split('\n'),
      plain.map((line, index) => `<${[7, 6, 4, 3][index]}>${line}`),
    );
  });

  it('that cannot be written, as on a full disk, does not end the program', () => {
    const program = `
      import { createLogger } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      const logger = createLogger({ level: 'info' });
      for (let line = 0; line < 2_000; line += 1) logger.info({ text: 'x'.repeat(1_000) }, 'a line');
      await new Promise((resolve) => setTimeout(resolve, 100));
      logger.info({}, 'one more');
      await new Promise((resolve) => setTimeout(resolve, 100));
      console.log('alive');`;
    const full = openSync('/dev/full', 'w');
    const words = ['--input-type=module', '--eval', program];
    const { stdout, status } = spawnSync(process.execPath, words, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', full],
      timeout: 20_000,
    });
    closeSync(full);
    assert.deepEqual([stdout, status], ['alive\n', 0]);
  });
});
