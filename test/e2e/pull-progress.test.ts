import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { httpRequest } from '../../base/connections/index.ts';
import { portcullisCommand } from '../fixtures/command.ts';
import { layerOf } from '../fixtures/image.ts';
import { serveHttp } from '../fixtures/registry.ts';
import type { TestServer } from '../fixtures/registry.ts';
import { openStage, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const layerBytes = 4 * 1024 * 1024;

/** The bar of a pull of which some megabytes arrived; an earlier bar may count in kilobytes. */
const barOfMegabytes = /pulled {2}█+░+ {2,3}\d+ % {2}\d\.\d MB of \d\.\d MB {2}\S+ .B\/s/u;

/** The line of such a pull. */
const lineOfMegabytes = /^pulled \d\.\d MB of \d\.\d MB, .*\/s, \d+ s left \(slow\.test\/lines:1\)$/mu;

/** How `portcullis images pull` shows the progress of a pull that takes long. */
describe('the progress of a pull', () => {
  let stage: Stage;
  let slow: TestServer;
  /** Large blobs stop in their middle until this is resolved. */
  let half = Promise.withResolvers<void>();
  const passOn = async (answer: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    let sent = 0;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      response.write(chunk);
      sent += chunk.length;
      if (sent > layerBytes / 2) await half.promise;
    }
    response.end();
  };
  before(async () => {
    stage = await openStage({
      prepare: async (registry) => {
        slow = await serveHttp((incoming, response) => {
          const outgoing = httpRequest(`${registry.url}${incoming.url ?? ''}`, {
            method: incoming.method,
            headers: { ...incoming.headers, host: registry.host },
          });
          outgoing.on('response', (answer) => void passOn(answer, response));
          incoming.pipe(outgoing);
        });
        return { 'slow.test': slow.url };
      },
      policy: [
        'apiVersion: portcullis.dev/v1alpha1',
        'kind: TrustPolicy',
        'default: deny',
        `rules: [{ images: ["slow.test/**", "${registryName}/**"], allow: unverified }]`,
      ].join('\n'),
    });
  });
  after(async () => {
    await stage.close();
    await slow.close();
  });

  /** Pulls an image with a new layer; calls `seen` with the output so far until it returns true. */
  async function pull(
    name: string,
    terminal: boolean,
    more: readonly string[],
    seen: (output: string) => boolean,
  ): Promise<{ readonly code: number | null; readonly output: string }> {
    half = Promise.withResolvers();
    const layer = await layerOf([{ name: 'data', body: randomBytes(layerBytes) }]);
    await stage.publish(`${name}:1`, { layers: [layer], base: false }, { sign: false });
    const words = [
      ...portcullisCommand,
      ...['images', 'pull', `slow.test/${name}:1`, '--socket', stage.folders.socket],
      ...['--admin-socket', join(stage.folders.state, 'admin.sock'), ...more],
    ];
    const [program = '', ...args] = terminal
      ? [
          'script',
          '-qefc',
          `stty cols 100 rows 24; ${words.map((word) => `'${word}'`).join(' ')}`,
          '/dev/null',
        ]
      : words;
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TERM: 'xterm', LC_ALL: 'C.UTF-8' },
    });
    let output = '';
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
      if (seen(output)) half.resolve();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, output };
  }

  it('is a bar on a terminal, which the result replaces', async () => {
    const { code, output } = await pull('bar', true, [], (text) =>
      barOfMegabytes.test(stripVTControlCharacters(text)),
    );
    assert.equal(code, 0, output);
    assert.match(stripVTControlCharacters(output), barOfMegabytes);
    // The last bar is erased before the result is written.
    const result = output.indexOf('pulled  slow.test/bar:1');
    assert.match(output.slice(output.lastIndexOf('█'), result), /\u001b\[(?:2?K|J|0?J|1?G)/u);
  });

  it('is one line per second on a pipe', async () => {
    const { code, output } = await pull('lines', false, [], (text) => lineOfMegabytes.test(text));
    assert.equal(code, 0, output);
    assert.match(output, lineOfMegabytes);
  });

  it('is one JSON object per second for a program', async () => {
    const { code, output } = await pull('json', false, ['--output', 'json'], (text) =>
      text.includes('"progress"'),
    );
    assert.equal(code, 0, output);
    const [first = ''] = output.split('\n');
    const event = JSON.parse(first) as Record<string, unknown>;
    assert.equal(event['event'], 'progress');
    assert.equal(event['done'], 'pulled');
    assert.ok(Number(event['bytes']) < Number(event['totalBytes']));
  });
});
