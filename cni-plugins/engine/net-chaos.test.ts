import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { createLogger } from '../../base/log/index.ts';
import { createFixture, eventually, inPrivateNetns, shell, tried } from './engine.fixture.ts';
import type { Fixture } from './engine.fixture.ts';
import { openPluginEngine } from './engine.ts';
import type { ActorOrder } from './net-chaos.actor.fixture.ts';
import { bootOf } from '../namespaces/namespace-id.ts';

/**
 * kill -9 at random moments of a daemon and of plugins without one that work on the same database and host at
 * the same time, and a reboot. `npm run test:net-chaos` kills 300 times; see CONTRIBUTING.md.
 */
const kills = Number(process.env['PORTCULLIS_NET_KILLS'] ?? '8');
const seed = Number(process.env['PORTCULLIS_NET_SEED'] ?? '7');
/** The number of kills between two complete checks. */
const settleEvery = 8;

let state = seed >>> 0;
/** Returns a uniform number in [0, 1) from a seed (mulberry32). */
const random = (): number => {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

interface Attachment {
  readonly id: string;
  readonly netns: string;
  readonly role: ActorOrder['role'];
  /** Created by our own runtime, not by a plugin. */
  readonly own: boolean;
  phase: 'adding' | 'held' | 'deleting';
  addresses: readonly string[];
}

class Model {
  readonly attachments = new Map<string, Attachment>();
  acts = 0;
  readonly problems: string[] = [];

  /** Records a line that an actor printed. */
  heard(role: ActorOrder['role'], namespaces: readonly string[], line: string): void {
    const [mark = '', id = '', ...addresses] = line.split(' ');
    const slot = Number(id.split('-').at(-2));
    const known = this.attachments.get(id);
    if (mark === '+') {
      const own = role === 'daemon' && slot > 0;
      this.attachments.set(id, {
        id,
        netns: namespaces[slot] ?? '',
        role,
        own,
        phase: 'adding',
        addresses: [],
      });
    } else if (mark === '=' && known !== undefined) {
      for (const other of this.attachments.values())
        for (const address of addresses)
          if (other.phase === 'held' && other.addresses.includes(address))
            this.problems.push(`${address} was given to ${other.id} and to ${id}`);
      Object.assign(known, { phase: 'held', addresses });
      this.acts += 1;
    } else if (mark === '-' && known !== undefined) known.phase = 'deleting';
    else if (mark === '0') {
      this.attachments.delete(id);
      this.acts += 1;
    }
  }
}

interface Actor {
  readonly role: ActorOrder['role'];
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  started: boolean;
}

const program = new URL('./net-chaos.actor.fixture.ts', import.meta.url).pathname;

function startActor(order: ActorOrder, model: Model): Actor {
  const child = spawn(process.execPath, [...flagsOfSources(), program, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const actor: Actor = { role: order.role, child, ended: once(child, 'close'), started: false };
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === 'started') actor.started = true;
      else model.heard(order.role, order.namespaces, line);
    }
  });
  return actor;
}

if (inPrivateNetns(import.meta.filename, 240_000 + kills * 10_000)) {
  test(`${kills} kills leak no link, rule, address or host port, and no address is leased twice`, async () => {
    const fixture = createFixture();
    const pristine = fixture.kernelState();
    const mounts = shell('wc -l < /proc/self/mounts');
    const model = new Model();
    const pins: Record<ActorOrder['role'], string[]> = { daemon: [], alone: [] };
    let pinned = 0;
    const pin = (): string => {
      pinned += 1;
      return fixture.pod(`pod-${pinned}`).request.netns;
    };
    for (const role of ['daemon', 'alone'] as const) pins[role].push(pin(), pin());
    let generation = 0;
    const begin = (role: ActorOrder['role']): Actor => {
      generation += 1;
      const left = [...model.attachments.values()].filter((each) => each.role === role);
      // One of four is forgotten by its runtime: the next GC finds it.
      const reported = left.filter(({ own }) => !own && random() < 0.75);
      // Its interface still exists, so its namespace is not used again.
      for (const { netns } of left.filter((each) => !each.own && !reported.includes(each))) {
        const slot = pins[role].indexOf(netns);
        if (slot !== -1) pins[role][slot] = pin();
      }
      const order: ActorOrder = {
        role,
        databasePath: fixture.databasePath,
        confDir: fixture.confDir,
        name: `${role}-${generation}`,
        namespaces: [...pins[role]],
        leftovers: reported.map(({ id, netns }) => ({ id, netns })),
        // Forgotten attachments keep theirs.
        port: 20_000 + generation * 4,
        valid: [],
      };
      // The daemon's GC at its start removes what was its own.
      for (const { id, own } of left) if (own) model.attachments.delete(id);
      for (const { id } of left.filter((each) => !each.own && !reported.includes(each)))
        model.attachments.get(id)!.phase = 'deleting';
      return startActor(order, model);
    };
    const kill = async (actor: Actor): Promise<void> => {
      actor.child.kill('SIGKILL');
      await actor.ended;
      assert.equal(actor.child.signalCode, 'SIGKILL', `the ${actor.role} failed by itself`);
    };

    const actors: Record<ActorOrder['role'], Actor> = { daemon: begin('daemon'), alone: begin('alone') };
    const met = { adding: 0, held: 0, deleting: 0 };
    for (let count = 1; count <= kills; count += 1) {
      const role = random() < 0.5 ? 'daemon' : 'alone';
      await eventually(
        () => actors[role].started || actors[role].child.exitCode !== null || undefined,
        120_000,
      );
      await new Promise((resolve) => setTimeout(resolve, random() * 120));
      for (const each of model.attachments.values()) if (each.role === role) met[each.phase] += 1;
      await kill(actors[role]);
      if (count % settleEvery === 0 || count === kills) {
        const other = role === 'daemon' ? 'alone' : 'daemon';
        await kill(actors[other]);
        await look(fixture, model);
        if (count === kills) break;
        actors[other] = begin(other);
      }
      actors[role] = begin(role);
    }
    assert.deepEqual(model.problems, []);
    process.stdout.write(
      `# seed ${seed}: ${model.acts} acts, attachments under way at the kills: ${JSON.stringify(met)}\n`,
    );
    assert.ok(met.adding + met.deleting > 0, 'no kill met an attachment under way');

    reboot(fixture);
    await clear(fixture);
    assert.deepEqual(rowsIn(fixture.databasePath), { attachment: 0, part: 0, lease: 0, host_port: 0 });
    tried('ip link del cni0; for f in ip ip6 bridge; do nft delete table $f portcullis_plugins; done');
    assert.equal(fixture.kernelState(), pristine);
    assert.equal(
      Number(shell('wc -l < /proc/self/mounts')),
      Number(mounts) + pinned,
      'a namespace is left pinned',
    );
    fixture.end();
  });
}

/** Runs with every actor dead: the next actor repairs, and attachments that were reported as ready exist. */
async function look(fixture: Fixture, model: Model): Promise<void> {
  const engine = await fixture.engine();
  const conf = {
    cniVersion: '1.1.0',
    name: 'chaos',
    type: 'bridge',
    bridge: 'cni0',
    ipam: { type: 'ipam', subnet: '10.88.0.0/24' },
  };
  const key = { network: 'chaos', containerId: '', interface: '' };
  await engine.callPlugin({
    verb: 'status',
    type: 'bridge',
    caller: {},
    key,
    netns: '',
    args: {},
    path: [],
    config: JSON.stringify(conf),
  });
  // Links of released pods disappear a moment later.
  await eventually(
    () => JSON.stringify(kernelHas()) === JSON.stringify(databaseHas(fixture.databasePath)) || undefined,
    10_000,
  ).catch(() => assert.deepEqual(kernelHas(), databaseHas(fixture.databasePath)));
  const unfinished = queried(fixture.databasePath, "SELECT type FROM part WHERE state <> 'ready'");
  assert.deepEqual(unfinished, []);
  const listed = new Map(engine.list().map((attachment) => [attachment.id, attachment]));
  const leased = new Set(
    queried(fixture.databasePath, "SELECT container_id AS value FROM attachment WHERE origin = 'plugin'").map(
      ({ value }) => String(value),
    ),
  );
  for (const { id, phase, own } of model.attachments.values())
    if (phase === 'held')
      assert.ok(own ? listed.has(id) : leased.has(id), `${id} was reported as attached and is gone`);
  await engine.close({ removeAll: false });
}

/** Returns everything that belongs to a single attachment, in the kernel and by the records. */
function kernelHas(): { links: string[]; masquerade: string[] } {
  const links = [...shell('ip -o link').matchAll(/^\d+: (pc[0-9a-f]{12})@/gmu)].map(
    (match) => match[1] ?? '',
  );
  // Only this table, because nft cannot list one map beside all sets of the others.
  const table = tried('nft list table ip portcullis_plugins') ?? '';
  const map = table.slice(0, table.indexOf('map host_ports'));
  return {
    links: links.toSorted(),
    masquerade: [...map.matchAll(/(10\.88\.0\.\d+) : jump/gu)].map((match) => match[1] ?? '').toSorted(),
  };
}

function databaseHas(path: string): { links: string[]; masquerade: string[] } {
  const links = queried(
    path,
    "SELECT host_interface AS value FROM attachment WHERE origin = 'pod' OR EXISTS (SELECT 1 FROM part WHERE attachment = number AND type = 'bridge')",
  );
  const leases = queried(
    path,
    "SELECT hex(address) AS value FROM lease JOIN attachment ON number = attachment WHERE origin = 'plugin'",
  );
  const four = leases
    .map(({ value }) => String(value))
    .filter((hex) => hex.startsWith('00000000000000000000FFFF'));
  return {
    links: links.map(({ value }) => String(value)).toSorted(),
    masquerade: four.map((hex) => Buffer.from(hex.slice(24), 'hex').join('.')).toSorted(),
  };
}

/** The state folder is kept; the host's namespace and the boot id change. */
function reboot(fixture: Fixture): void {
  const db = new DatabaseSync(fixture.databasePath);
  const copy = `${fixture.databasePath}.rebooted`;
  db.exec(`VACUUM INTO '${copy}'`);
  db.close();
  const other = new DatabaseSync(copy);
  for (const table of ['attachment', 'lease', 'host_port', 'last_lease'])
    other
      .prepare(`UPDATE ${table} SET realm = ? || substr(realm, ?)`)
      .run('00000000-0000-4000-8000-000000000000', bootOf().length + 1);
  const before = (other.prepare('SELECT count(*) AS n FROM attachment').get() as { n: number }).n;
  other.close();
  const script = `
    import { createNetworkEngine } from ${JSON.stringify(new URL('./engine.ts', import.meta.url).href)};
    import { createLogger } from ${JSON.stringify(new URL('../../base/log/index.ts', import.meta.url).href)};
    const engine = await createNetworkEngine({ databasePath: ${JSON.stringify(copy)}, confDir: ${JSON.stringify(fixture.confDir)}, log: createLogger({ level: 'silent' }) });
    process.stdout.write(JSON.stringify(engine.list()));
    await engine.close({ removeAll: true });`;
  const run = spawnSync('unshare', ['--net', process.execPath, '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.equal(run.stdout, '[]', run.stderr);
  assert.deepEqual(
    rowsIn(copy),
    { attachment: 0, part: 0, lease: 0, host_port: 0 },
    `${before} attachments existed before the reboot`,
  );
}

async function clear(fixture: Fixture): Promise<void> {
  const engine = await fixture.engine();
  await engine.gc(new Set());
  await engine.close({ removeAll: false });
  const plugins = openPluginEngine({
    databasePath: fixture.databasePath,
    log: createLogger({ level: 'error' }),
  });
  const conf = { cniVersion: '1.1.0', name: 'chaos', ipam: { type: 'ipam', subnet: '10.88.0.0/24' } };
  for (const type of ['portmap', 'bridge'])
    await plugins.callPlugin({
      verb: 'gc',
      type,
      caller: {},
      key: { network: 'chaos', containerId: '', interface: '' },
      netns: '',
      args: {},
      path: [],
      config: JSON.stringify({ ...conf, type }),
      valid: [],
    });
  await plugins.close();
  const last = await fixture.engine();
  await last.close({ removeAll: true });
}

function queried(path: string, sql: string): Record<string, unknown>[] {
  const db = new DatabaseSync(path, { readOnly: true });
  const rows = db.prepare(sql).all();
  db.close();
  return rows;
}

function rowsIn(path: string): Record<string, number> {
  const count = (table: string): number =>
    Number(queried(path, `SELECT count(*) AS n FROM ${table}`)[0]?.['n']);
  return {
    attachment: count('attachment'),
    part: count('part'),
    lease: count('lease'),
    host_port: count('host_port'),
  };
}
