/**
 * `npm run bench:policy-rules [-- --trips N]`: measures the cost of rules about peers of a pod for its
 * packets. A pod sends datagrams to another one, each after the answer to the last, while the rules of its
 * profile grant many ports. Single ports are looked up by protocol and port. Port ranges are the comparison:
 * their rules are tried one after the other, as all rules were before. Runs in its own namespaces and needs
 * no other program.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { createFixture } from '../cni-plugins/engine/engine.fixture.ts';
import type { LinkRule } from '../cni-plugins/types.ts';

const { values } = parseArgs({ options: { trips: { type: 'string', default: '20000' } } });
if (process.env['PORTCULLIS_BENCH_APART'] === undefined) {
  const run = spawnSync(
    'unshare',
    [
      ...['--net', '--mount', '--propagation', 'private'],
      ...[process.execPath, import.meta.filename, ...process.argv.slice(2)],
    ],
    { stdio: 'inherit', env: { ...process.env, PORTCULLIS_BENCH_APART: '1' } },
  );
  process.exit(run.status ?? 1);
}

const port = 9999;
const answering = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(${port}, () => process.send('ready'));
`;
/** Prints the microseconds of a round trip, the median of ten parts. */
const asking = (host: string, trips: number): string => `
  const socket = require('node:dgram').createSocket('udp4');
  const times = [];
  let [count, since] = [0, performance.now()];
  const send = () => socket.send('hello', ${port}, '${host}');
  socket.on('message', () => {
    count += 1;
    if (count % ${Math.max(1, Math.floor(trips / 10))} === 0) {
      times.push((performance.now() - since) * 1000 / ${Math.max(1, Math.floor(trips / 10))});
      since = performance.now();
    }
    if (count < ${trips}) return send();
    console.log(times.sort((a, b) => a - b)[times.length >> 1].toFixed(1));
    socket.close();
  });
  send();
`;

const fixture = createFixture();
const engine = await fixture.engine();
try {
  const [client, server] = [fixture.pod('client'), fixture.pod('server')];
  for (const { request } of [client, server]) {
    await engine.attach(request);
    await engine.setClass(request.id, 'user');
  }
  const host = engine.get(server.request.id)?.ips[0]?.address.split('/')[0] ?? '';
  const answerer = spawn('nsenter', [`--net=${server.request.netns}`, process.execPath, '-e', answering], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  await new Promise((resolve) => answerer.once('message', resolve));
  const measure = (): number =>
    Number(
      execFileSync(
        'nsenter',
        [`--net=${client.request.netns}`, process.execPath, '-e', asking(host, Number(values.trips))],
        { encoding: 'utf8' },
      ),
    );
  const rules = (count: number, width: number): LinkRule[] => [
    ...Array.from({ length: count - 1 }, (_, at): LinkRule => {
      const low = 10_000 + at * 2;
      return { cidr: '0.0.0.0/0', protocol: 'udp', ports: { low, high: low + width } };
    }),
    { cidr: '0.0.0.0/0', protocol: 'udp', ports: { low: port, high: port + width } },
  ];
  measure();
  console.log(`| rules | looked up, µs | one after the other, µs | ratio |`);
  console.log(`| ----- | ------------- | ----------------------- | ----- |`);
  console.log(`| none  | ${measure()} | | |`);
  for (const count of [8, 64, 512, 4096]) {
    const row: number[] = [];
    for (const width of [0, 1]) {
      await engine.setClass(client.request.id, 'user', { egress: rules(count, width) });
      row.push(measure());
    }
    const [lookedUp = NaN, inTurn = NaN] = row;
    console.log(`| ${count} | ${lookedUp} | ${inTurn} | ${(lookedUp / inTurn).toFixed(2)} |`);
  }
  answerer.kill();
} finally {
  await engine.close({ removeAll: true });
  fixture.end();
}
