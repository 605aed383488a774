import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { stateWithDefaults } from '../document/defaults.ts';
import type { Change } from '../model/types.ts';
import { networkController } from './networks.ts';

const folder = mkdtempSync(join(tmpdir(), 'pc-node-networks-'));
const confDir = join(folder, 'net.d');
const controller = networkController({
  databasePath: join(folder, 'network.db'),
  confDir,
  choice: { plugins: 'auto', maxConfigs: 1 },
});
const limits = { signal: new AbortController().signal };
const asked = (subnet: string) => stateWithDefaults({ networks: [{ name: 'pods', subnets: [subnet] }] }, []);
const change = (action: Change['action'], drift = false): Change => ({
  action,
  section: 'networks',
  name: 'pods',
  drift,
});
const file = join(confDir, '50-pods.conflist');
const seen = async (): Promise<string | undefined> =>
  (await controller.observe(new Set(['pods']), limits)).get('pods')?.visible;
const state = asked('10.99.0.0/24');
const item = controller.items(state).get('pods');

describe('networks of a state', () => {
  after(() => rmSync(folder, { recursive: true }));

  it('match the state once they are created', async () => {
    assert.equal(await seen(), undefined);
    await controller.apply(change('create'), state, limits);
    assert.equal(await seen(), item?.visible);
  });

  it('get their text again after a change, even if the changed text is not a network', async () => {
    const right = readFileSync(file, 'utf8');
    for (const wrong of [right.replace('10.99', '10.98'), '{"name": "po', '']) {
      writeFileSync(file, wrong);
      assert.notEqual((await seen()) ?? '', item?.visible);
      await controller.apply(change('update', true), state, limits);
      assert.equal(readFileSync(file, 'utf8'), right);
    }
  });

  it('change with the state, and are removed with it', async () => {
    const next = asked('10.97.0.0/24');
    assert.notEqual(await seen(), controller.items(next).get('pods')?.visible);
    await controller.apply(change('update'), next, limits);
    assert.equal(await seen(), controller.items(next).get('pods')?.visible);
    await controller.apply(change('delete'), next, limits);
    assert.deepEqual(readdirSync(confDir), []);
  });

  it('stay as they were when this host cannot have the network that replaces them', async () => {
    await controller.apply(change('create'), state, limits);
    const before = readFileSync(file, 'utf8');
    const other = join(confDir, '60-other.conflist');
    writeFileSync(
      other,
      before.replaceAll('10.99', '10.96').replaceAll('pcbr-', 'they-').replace('"pods"', '"other"'),
    );
    await assert.rejects(controller.apply(change('update'), asked('10.96.0.0/25'), limits), {
      code: 'NETWORK_SUBNET_TAKEN',
    });
    assert.equal(readFileSync(file, 'utf8'), before);
    rmSync(other);
    await controller.apply(change('delete'), state, limits);
  });

  it('stay as they were when another network of the state has the new subnet and keeps it', async () => {
    const two = (subnet: string) =>
      stateWithDefaults(
        {
          networks: [
            { name: 'pods', subnets: [subnet] },
            { name: 'kept', subnets: ['10.93.0.0/24'] },
          ],
        },
        [],
      );
    for (const name of ['pods', 'kept'])
      await controller.apply({ ...change('create'), name }, two('10.92.0.0/24'), limits);
    const before = readFileSync(file, 'utf8');
    await assert.rejects(controller.apply(change('update'), two('10.93.0.0/25'), limits), {
      code: 'NETWORK_SUBNET_TAKEN',
    });
    assert.equal(readFileSync(file, 'utf8'), before);
    for (const name of ['pods', 'kept'])
      await controller.apply({ ...change('delete'), name }, two('10.92.0.0/24'), limits);
  });

  it('change although another network of the state still has the new subnet', async () => {
    const swapped = (...subnets: string[]) => {
      const networks = subnets.map((subnet, at) => ({ name: `n${at}`, subnets: [subnet] }));
      return stateWithDefaults({ networks }, []);
    };
    const both = async (action: Change['action'], wanted: typeof state): Promise<void> => {
      for (const name of ['n0', 'n1'])
        await controller.apply({ ...change(action), name }, wanted, limits).catch(() => undefined);
    };
    await both('create', swapped('10.94.0.0/24', '10.95.0.0/24'));
    const next = swapped('10.95.0.0/24', '10.94.0.0/24');
    await both('update', next);
    await both('create', next);
    for (const [name, wanted] of controller.items(next))
      assert.equal((await controller.observe(new Set([name]), limits)).get(name)?.visible, wanted.visible);
    await both('delete', next);
  });

  it('are never taken for networks of other names, whose files end with the same name', async () => {
    await controller.apply(change('create'), state, limits);
    const others = ['50-my-pods.conflist', '60-pods.conflist', 'x-y-pods.conflist'];
    const [mine = '', other = '', broken = ''] = others.map((name) => join(confDir, name));
    const text = (name: string) => readFileSync(file, 'utf8').replace('"name": "pods"', `"name": "${name}"`);
    writeFileSync(mine, text('my-pods'));
    writeFileSync(other, text('other'));
    writeFileSync(broken, '{"name": "y-po');
    rmSync(file);
    assert.equal(await seen(), undefined);
    await controller.apply(change('update', true), state, limits);
    assert.equal(await seen(), item?.visible);
    rmSync(file);
    await controller.apply(change('delete'), state, limits);
    assert.deepEqual(readdirSync(confDir), others);
    for (const each of [mine, other, broken]) rmSync(each);
  });

  it('never replace or remove a network of this name in a file of somebody else', async () => {
    await controller.apply(change('create'), state, limits);
    const theirs = join(confDir, '00-theirs.conflist');
    const text = readFileSync(file, 'utf8').replaceAll('10.99', '10.98').replaceAll('pcbr-', 'they-');
    writeFileSync(theirs, text);
    const foreign = async () => (await controller.observe(new Set(['pods']), limits)).get('pods');
    assert.match((await foreign())?.foreign ?? '', /00-theirs\.conflist/u);
    for (const action of ['update', 'create'] as const)
      await assert.rejects(controller.apply(change(action, true), state, limits), {
        code: 'NODE_STATE_CHANGE_REFUSED',
        message: /00-theirs\.conflist/u,
      });
    await controller.apply(change('delete'), state, limits);
    assert.deepEqual(readdirSync(confDir), ['00-theirs.conflist']);
    assert.equal(readFileSync(theirs, 'utf8'), text);
    assert.equal((await foreign())?.visible, '');
  });
});
