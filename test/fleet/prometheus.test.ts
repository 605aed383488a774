import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { webhookMetrics } from '../../admission/service/catalogue.ts';
import { eventNames } from '../../fleet/records/record-names.ts';
import { goodState, post, requestOf, startFleet, temporaryFolder, until } from '../../fleet/fleet.fixture.ts';
import { fleetMetrics } from '../../fleet/service/catalogue.ts';
import { metricCatalogue } from '../../runtime/observability/catalogue.ts';
import type { MetricDefinition } from '../../runtime/observability/catalogue.ts';
import { proxyCatalogue } from '../../runtime/proxy/catalogue.ts';

const packaging = join(import.meta.dirname, '../../packaging');
const rulesIn = (file: string) =>
  (
    parse(readFileSync(join(packaging, 'prometheus', file), 'utf8')) as {
      groups: { rules: { record?: string; alert?: string; expr: string }[] }[];
    }
  ).groups.flatMap(({ rules }) => rules);
const rules = rulesIn('rules.yaml');
const alerts = rulesIn('alerts.yaml');

const catalogued: readonly Pick<MetricDefinition, 'labels' | 'name' | 'type'>[] = [
  ...Object.values(metricCatalogue),
  ...Object.values(proxyCatalogue),
  ...Object.values(fleetMetrics),
  ...Object.values(webhookMetrics),
];
const known = new Map<string, readonly string[]>(
  catalogued.flatMap(({ name, type, labels }) =>
    (type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']).map(
      (end) => [`${name}${end}`, [...labels, ...(end === '_bucket' ? ['le'] : [])]] as const,
    ),
  ),
);
const recorded = new Set(rules.map(({ record }) => record));

/** Returns what an expression names that does not exist: metrics, rules, and labels in braces. */
function unknownIn(expression: string): string[] {
  const metrics = [...expression.matchAll(/portcullis[_:][a-z0-9_:]+/gu)].map(([name]) => name);
  const labels = [...expression.matchAll(/(portcullis_[a-z0-9_]+)\{([^}]*)\}/gu)].flatMap(
    ([, metric = '', inside = '']) =>
      [...inside.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/gu)]
        .map(([, label = '']) => label)
        .filter((label) => known.get(metric)?.includes(label) !== true),
  );
  return [...metrics.filter((name) => !known.has(name) && !recorded.has(name)), ...labels];
}

const folders = [process.env['PORTCULLIS_PROMETHEUS'], '/usr/bin', '/usr/local/bin'];
const find = (name: string): string | undefined =>
  folders
    .flatMap((folder) => (folder === undefined ? [] : join(folder, name)))
    .find((file) => existsSync(file));
const promtool = find('promtool');
const prometheus = find('prometheus');
const isAbsent = 'Prometheus is not installed: apt-get install prometheus, or set PORTCULLIS_PROMETHEUS';

describe('rules and dashboards', () => {
  it('name only metrics and labels that the daemon, the proxy, the aggregator and the webhook have', () => {
    for (const { expr, record, alert } of [...rules, ...alerts])
      assert.deepEqual(unknownIn(expr), [], record ?? alert ?? '');
    for (const file of readdirSync(join(packaging, 'grafana')).filter((name) => name.endsWith('.json'))) {
      const { panels, uid } = JSON.parse(readFileSync(join(packaging, 'grafana', file), 'utf8')) as {
        uid: string;
        panels: { title: string; targets: { expr: string }[]; gridPos: { x: number; w: number } }[];
      };
      assert.match(uid, /^portcullis-/);
      for (const { title, targets, gridPos } of panels) {
        assert.ok(gridPos.x + gridPos.w <= 24, title);
        for (const { expr } of targets) assert.deepEqual(unknownIn(expr), [], `${file}: ${title}`);
      }
    }
    assert.deepEqual(unknownIn('sum(portcullis_absent{colour="red"})'), ['portcullis_absent', 'colour']);
  });

  it('pass promtool', { skip: promtool === undefined && isAbsent }, () => {
    const options = { cwd: join(packaging, 'prometheus'), encoding: 'utf8', stdio: 'pipe' } as const;
    execFileSync(promtool ?? '', ['check', 'rules', 'rules.yaml', 'alerts.yaml'], options);
    execFileSync(promtool ?? '', ['test', 'rules', 'tests.yaml'], options);
    execFileSync(promtool ?? '', ['check', 'config', 'prometheus.yaml'], options);
  });

  it('are evaluated by Prometheus', { skip: prometheus === undefined && isAbsent }, async (t) => {
    const { url } = await startFleet(t);
    const state = {
      ...goodState,
      outOfPolicy: [],
      enforcement: { ...goodState.enforcement, result: 'fail' },
    };
    const record = { event: eventNames.state, time: 0, attributes: new Map(), body: JSON.stringify(state) };
    await post(url, requestOf('a', [record]));
    const folder = await temporaryFolder(t);
    const config = join(folder, 'prometheus.yaml');
    const files = ['rules.yaml', 'alerts.yaml'].map((file) => join(packaging, 'prometheus', file));
    const jobs = [{ job_name: 'fleet', static_configs: [{ targets: [new URL(url).host] }] }];
    const interval = { scrape_interval: '1s', evaluation_interval: '1s' };
    writeFileSync(config, JSON.stringify({ global: interval, rule_files: files, scrape_configs: jobs }));
    const child = spawn(
      prometheus ?? '',
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        '--web.listen-address=127.0.0.1:0',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    t.after(async () => {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    });
    let output = '';
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    let address: string | undefined;
    await until(async () => {
      address ??= /Listening on" address=(127\.0\.0\.1:\d+)/u.exec(output)?.[1];
      return address !== undefined;
    });
    const ask = async <T>(path: string): Promise<T> =>
      ((await (await fetch(`http://${address}/api/v1/${path}`)).json()) as { data: T }).data;
    await until(async () => {
      const query = encodeURIComponent('portcullis_fleet_nodes_enforcement{result="fail"}');
      const { result } = await ask<{ result: { value: [number, string] }[] }>(`query?query=${query}`).catch(
        () => ({
          result: [],
        }),
      );
      return result[0]?.value[1] === '1';
    });
    interface Rule {
      readonly name: string;
      readonly health: string;
      readonly state?: string;
    }
    let evaluated: readonly Rule[] = [];
    await until(async () => {
      evaluated = (await ask<{ groups: { rules: Rule[] }[] }>('rules')).groups.flatMap(
        (group) => group.rules,
      );
      return (
        evaluated.every(({ health }) => health !== 'unknown') &&
        evaluated.find(({ name }) => name === 'PortcullisFleetNodesFail')?.state === 'pending'
      );
    });
    assert.equal(evaluated.length, rules.length + alerts.length);
    assert.deepEqual(
      evaluated.filter(({ health }) => health !== 'ok'),
      [],
    );
  });
});
