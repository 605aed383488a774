import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import type { DeadServer } from '../../test/fixtures/dead-server.ts';
import { openPolicy } from './policy-watch.ts';
import type { PolicyHolder } from './policy-watch.ts';

const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
  type: 'spki',
  format: 'pem',
});
const policy =
  'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["r.test/**"]\n    require: { cosign: { key: k.pub } }\n';
/** Long enough for a machine under load to read two files. */
const patienceMs = 3_000;

/** A folder with a policy of several files, and the function that hides it behind a dead server. */
function policyFolder(t: TestContext): { readonly folder: string; readonly kill: () => DeadServer } {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-policy-'));
  writeFileSync(join(folder, 'k.pub'), pem);
  writeFileSync(join(folder, 'p.yaml'), policy);
  const servers: DeadServer[] = [];
  t.after(() => {
    // The removal would wait for the server.
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true });
  });
  return {
    folder,
    kill() {
      const server = mountDeadServer(folder);
      servers.push(server);
      return server;
    },
  };
}

async function opened(t: TestContext, folder: string): Promise<PolicyHolder> {
  const holder = await openPolicy({ paths: [folder] }, createLogger({ level: 'silent' }), patienceMs);
  t.after(() => holder.close());
  return holder;
}

async function until(what: () => boolean, why: string): Promise<void> {
  for (let waited = 0; !what(); waited += 20) {
    assert.ok(waited < 60_000, why);
    await pause(20);
  }
}

/** Asks each of libuv's four threads, as everything that the daemon does with files. */
const filesAnswer = (): Promise<unknown> => Promise.all(Array.from({ length: 8 }, () => readdir('/')));

describe('a policy whose file server does not answer', { skip: noDeadServer }, () => {
  it('stays in force, is reported as a problem, and does not delay other files', async (t) => {
    const { folder, kill } = policyFolder(t);
    const holder = await opened(t, folder);
    // Under load even the first reading may be late.
    await holder.reload();
    assert.ok(holder.current() !== undefined && holder.problem() === undefined);
    const [revision, { failed }] = [holder.current()?.revision, holder.loads()];
    const server = kill();
    // However often it is asked for, one reading waits.
    for (let count = 0; count < 3; count += 1) await holder.reload();
    assert.match(holder.problem() ?? '', /does not answer/);
    assert.equal(holder.current()?.revision, revision);
    assert.equal(holder.loads().failed, failed + 1);
    await filesAnswer();
    server.close();
    await until(() => !/does not answer/.test(holder.problem() ?? ''), 'the read ends when the server ends');
    await holder.reload();
    assert.equal(holder.problem(), undefined);
    assert.equal(holder.current()?.revision, revision);
  });

  it('is reported as a problem at the start, and the daemon starts without a policy', async (t) => {
    const { folder, kill } = policyFolder(t);
    kill();
    const holder = await opened(t, folder);
    assert.equal(holder.current(), undefined);
    assert.match(holder.problem() ?? '', /does not answer/);
    await filesAnswer();
  });
});

it('warns of files of the policy that a user other than root can change, and keeps them in force', async (t) => {
  const { folder } = policyFolder(t);
  chmodSync(folder, 0o777);
  chmodSync(join(folder, 'p.yaml'), 0o666);
  chownSync(join(folder, 'k.pub'), 1000, 0);
  const lines: { readonly msg: string; readonly path?: string }[] = [];
  const log = createLogger({
    level: 'warn',
    stream: { write: (line: string) => void lines.push(JSON.parse(line) as { msg: string }) },
  });
  const holder = await openPolicy({ paths: [folder] }, log, patienceMs);
  t.after(() => holder.close());
  assert.ok(holder.current() !== undefined);
  while (lines.length < 3) await pause(10);
  assert.deepEqual(lines.map(({ path, msg }) => [path, msg.split(': ')[1]]).sort(), [
    [folder, 'every user may write to it'],
    [join(folder, 'k.pub'), 'it belongs to user 1000, not to root'],
    [join(folder, 'p.yaml'), 'every user may write to it'],
  ]);
});
