/**
 * `npm run bench:webhook [-- --rate N --seconds N]`: sends reviews to one replica of the admission webhook, a
 * separate process, over TLS, at a steady rate and without waiting for earlier answers. Checks each answer,
 * and prints the time from the request to the whole answer.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { fixtureContent, serveFixtures } from '../trust/evidence/fixtures/fixture-registry.ts';
import { makeServerCertificate } from '../trust/x509/index.ts';
import { fixtureKeys, startReplica } from '../test/webhook/test-cluster.ts';

const { values } = parseArgs({
  options: { rate: { type: 'string', default: '1000' }, seconds: { type: 'string', default: '60' } },
});
const [rate, seconds] = [Number(values.rate), Number(values.seconds)];
const folder = mkdtempSync(join(tmpdir(), 'portcullis-webhook-bench-'));
const registry = await serveFixtures(fixtureContent(), { referrers: true });
const made = await makeServerCertificate({
  names: ['localhost'],
  from: new Date(Date.now() - 60_000),
  until: new Date(Date.now() + 3_600_000),
});
writeFileSync(join(folder, 'tls.crt'), made.certificate);
writeFileSync(join(folder, 'tls.key'), made.key, { mode: 0o600 });
writeFileSync(join(folder, 'k.pub'), readFileSync(join(fixtureKeys, 'ecdsa-p256.pub')));
writeFileSync(
  join(folder, 'policy.yaml'),
  'apiVersion: portcullis.dev/v1alpha1\nkind: TrustPolicy\nrules:\n  - images: ["127.0.0.1:*/**"]\n    require: { cosign: { key: k.pub } }\n',
);
const replica = await startReplica(
  [
    ...['--listen', '127.0.0.1:0', '--policy', join(folder, 'policy.yaml'), '--trust-state', folder],
    ...['--tls-cert', join(folder, 'tls.crt'), '--tls-key', join(folder, 'tls.key'), '--drain', '0s'],
  ],
  folder,
);
const agent = new Agent({ keepAlive: true, maxSockets: 100 });
const images = ['bundle/ecdsa-p256:1', 'bundle/ecdsa-p384:1'].map((name) => `${registry.host}/${name}`);

/** Sends one review, and returns the time of its answer in ms. @throws when the answer is wrong */
function ask(turn: number): Promise<number> {
  const uid = `uid-${turn}`;
  const expected = turn % 2 === 0;
  const body = JSON.stringify({
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      ...{ uid, operation: 'CREATE', namespace: `ns-${turn % 50}`, resource: { resource: 'pods' } },
      object: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'web' },
        spec: { containers: [{ name: 'app', image: images[turn % 2] }] },
      },
    },
  });
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const call = request(new URL('/validate?timeout=10s', replica.url), {
      ...{ agent, ca: made.authority, servername: 'localhost', method: 'POST' },
      headers: { 'content-type': 'application/json' },
    });
    call.on('error', reject);
    call.on('response', (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
      answer.on('error', reject);
      answer.on('end', () => {
        const { response } = JSON.parse(text) as { response: { uid: string; allowed: boolean } };
        if (response.uid === uid && response.allowed === expected) resolve(performance.now() - begun);
        else reject(new Error(`a wrong answer: ${text.slice(0, 500)}`));
      });
    });
    call.end(body);
  });
}

/** Returns the processor time of the replica in ms (proc_pid_stat(5): 100 ticks a second). */
function processorMs(): number {
  const fields =
    readFileSync(`/proc/${replica.process.pid ?? 0}/stat`, 'utf8')
      .split(') ')[1]
      ?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

try {
  for (let turn = 0; turn < 200; turn += 1) await ask(turn);
  const answers: Promise<number>[] = [];
  const start = performance.now();
  const busy = processorMs();
  for (let turn = 0; turn < rate * seconds; turn += 1) {
    const wait = (turn * 1000) / rate - (performance.now() - start);
    if (wait > 1) await sleep(wait);
    const answer = ask(turn);
    answer.catch(() => undefined);
    answers.push(answer);
  }
  const results = await Promise.allSettled(answers);
  const failed = results.filter(({ status }) => status === 'rejected');
  const times = results
    .flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    .sort((a, b) => a - b);
  const at = (part: number): string => (times[Math.floor((times.length - 1) * part)] ?? NaN).toFixed(1);
  console.log(
    `${answers.length} reviews in ${((performance.now() - start) / 1000).toFixed(1)} s, ${failed.length} wrong or lost; p50 ${at(0.5)}, p99 ${at(0.99)}, most ${at(1)} ms; ${((processorMs() - busy) / answers.length).toFixed(2)} ms of processor time for each`,
  );
  for (const one of failed.slice(0, 3)) console.log(String((one as PromiseRejectedResult).reason));
  process.exitCode = failed.length === 0 ? 0 : 1;
} finally {
  agent.destroy();
  await replica.end('SIGTERM');
  await registry.close();
  rmSync(folder, { recursive: true });
}
